/* CRC-32C by the SSE4.2 instruction, three lanes at once because it takes three cycles to answer and one to start. */
#include "core.h"
#include "words.h"

#if DWCP_X86_VECTOR
#include <nmmintrin.h>

enum { LONG_LANE = 4096, SHORT_LANE = 256 };

/* advance[k][b]: what byte b of a state, at position k, becomes when one lane of zeros follows. */
typedef uint32_t advance_table[4][256];

static advance_table advance_long;
static advance_table advance_short;

static void advance_init(advance_table out, size_t lane)
{
    static const uint8_t zeros[256];
    for (int position = 0; position < 4; position++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t state = byte << (8 * position);
            for (size_t done = 0; done < lane; done += sizeof zeros)
                state = dwcp_crc_scalar(state, zeros, sizeof zeros);
            out[position][byte] = state;
        }
}

void dwcp_crc_sse42_init(void)
{
    advance_init(advance_long, LONG_LANE);
    advance_init(advance_short, SHORT_LANE);
}

static inline uint32_t advance(const advance_table by, uint32_t state)
{
    return by[0][state & 0xFF] ^ by[1][(state >> 8) & 0xFF] ^ by[2][(state >> 16) & 0xFF] ^ by[3][state >> 24];
}

__attribute__((target("sse4.2"))) static inline uint32_t three_lanes(uint32_t state, const uint8_t *data, size_t lane,
                                                                     const advance_table by)
{
    uint64_t first = state, second = 0, third = 0;
    for (size_t at = 0; at < lane; at += 8) {
        first = _mm_crc32_u64(first, dwcp_load64(data + at));
        second = _mm_crc32_u64(second, dwcp_load64(data + lane + at));
        third = _mm_crc32_u64(third, dwcp_load64(data + 2 * lane + at));
    }
    uint32_t joined = advance(by, (uint32_t)first) ^ (uint32_t)second;
    return advance(by, joined) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) uint32_t dwcp_crc_sse42(uint32_t state, const uint8_t *data, size_t length)
{
    while (length && ((uintptr_t)data & 7)) {
        state = _mm_crc32_u8(state, *data++);
        length--;
    }
    while (length >= 3 * LONG_LANE) {
        state = three_lanes(state, data, LONG_LANE, advance_long);
        data += 3 * LONG_LANE;
        length -= 3 * LONG_LANE;
    }
    while (length >= 3 * SHORT_LANE) {
        state = three_lanes(state, data, SHORT_LANE, advance_short);
        data += 3 * SHORT_LANE;
        length -= 3 * SHORT_LANE;
    }
    uint64_t wide = state;
    while (length >= 8) {
        wide = _mm_crc32_u64(wide, dwcp_load64(data));
        data += 8;
        length -= 8;
    }
    state = (uint32_t)wide;
    while (length--)
        state = _mm_crc32_u8(state, *data++);
    return state;
}
#endif
