/* CRC-32C by carry-less multiplication of 512 bits at a time, alone and beside the CRC instruction. */
/* Multiplications and CRC instructions stay in the order below, one beside the other: sorted by kind they do not overlap (61 GB/s, not 74). */
#pragma GCC optimize("no-schedule-insns2")

#include "clmul.h"
#include "words.h"

#if DWCP_X86_VECTOR
VPCLMUL512 static inline __m512i constants_512(int by)
{
    return _mm512_broadcast_i64x2(constants_128(by));
}

VPCLMUL512 static inline __m512i fold_512(__m512i block, __m512i by, __m512i next)
{
    enum { XOR3 = 0x96 }; /* truth table of a ^ b ^ c */
    __m512i low = _mm512_clmulepi64_epi128(block, by, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(block, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, next, XOR3);
}

VPCLMUL512 static inline __m512i read_512(const uint8_t *data)
{
    return _mm512_loadu_si512((const void *)data);
}

/* Data that is being folded, 512 bytes at a time. */
enum { BLOCKS = 8, STRIDE = 64 * BLOCKS };
typedef __m512i folding[BLOCKS];

VPCLMUL512 static inline void fold_begin(folding block, uint32_t state, const uint8_t *data)
{
#pragma GCC unroll 8
    for (int i = 0; i < BLOCKS; i++)
        block[i] = read_512(data + 64 * i);
    block[0] = _mm512_xor_si512(block[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
}

VPCLMUL512 static inline uint32_t fold_end(folding block)
{
    /* Halves of halves rather than one after the other: three steps of latency instead of seven. */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        block[i] = fold_512(block[i], constants_512(DWCP_BY_2048), block[i + 4]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        block[i] = fold_512(block[i], constants_512(DWCP_BY_1024), block[i + 2]);
    __m512i all = fold_512(block[0], constants_512(DWCP_BY_512), block[1]);
    __m256i half = fold_256(_mm512_castsi512_si256(all), constants_256(DWCP_BY_256), _mm512_extracti64x4_epi64(all, 1));
    return reduce_128(fold_128(_mm256_castsi256_si128(half), constants_128(DWCP_BY_128), _mm256_extracti128_si256(half, 1)));
}

VPCLMUL512 uint32_t dwcp_crc_avx512(uint32_t state, const uint8_t *data, size_t length)
{
    if (length < STRIDE)
        return dwcp_crc_avx2(state, data, length);

    folding block;
    fold_begin(block, state, data);
    const __m512i stride = constants_512(DWCP_BY_4096);
    for (data += STRIDE, length -= STRIDE; length >= STRIDE; data += STRIDE, length -= STRIDE) {
#pragma GCC unroll 8
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_512(block[i], stride, read_512(data + 64 * i));
    }
    return dwcp_crc_sse42(fold_end(block), data, length);
}

/*
 * Both at once, for processors that multiply 512 bits in two halves: there the multiplier alone is the limit, and the unit of the CRC
 * instruction is idle. The data is cut in four: the multiplier folds the first part, three lanes of the CRC instruction take the others, in
 * the proportion of their speeds. At the end each state is moved past the part that follows it, by a multiplication with a power of x.
 */
enum {
    LANE = 8 * BLOCKS,     /* bytes of each lane in a turn */
    TURN = STRIDE + 3 * LANE,
    LEAST = 12 << 10,      /* bytes below which moving the states costs more than is won */
    MOST = 16 << 20,       /* bytes from which on memory is the limit, and one stream from it is faster than four */
    DOUBLINGS = 15,        /* so many times TURN is over MOST */
};

/* x^(bits of a lane's 2^i turns - 33) mod P: by what `times` moves a state past them. */
static uint32_t past[DOUBLINGS];

/* a * b * x^33 mod P: the product of two reflected words carries one x of its own, the instruction adds 32. */
PCLMUL static inline uint32_t times(uint32_t a, uint32_t b)
{
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)a), _mm_cvtsi32_si128((int)b), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

PCLMUL void dwcp_crc_paired_init(void)
{
    past[0] = dwcp_crc_power(8 * LANE - 33);
    for (int i = 1; i < DOUBLINGS; i++)
        past[i] = times(past[i - 1], past[i - 1]);
}

PCLMUL static uint32_t past_turns(size_t turns)
{
    uint32_t by = past[__builtin_ctzll(turns)];
    for (turns &= turns - 1; turns; turns &= turns - 1)
        by = times(by, past[__builtin_ctzll(turns)]);
    return by;
}

PCLMUL static inline void lanes(uint64_t in[3], const uint8_t *const at[3], int word)
{
    for (int lane = 0; lane < 3; lane++)
        in[lane] = _mm_crc32_u64(in[lane], dwcp_load64(at[lane] + 8 * word));
}

VPCLMUL512 uint32_t dwcp_crc_paired(uint32_t state, const uint8_t *data, size_t length)
{
    if (length >= LEAST && length < MOST) {
        const size_t turns = length / TURN;
        const uint32_t by = past_turns(turns);
        const uint8_t *const end = data + turns * STRIDE;
        const uint8_t *at[3] = {end, end + turns * LANE, end + 2 * turns * LANE};
        uint64_t in[3] = {0, 0, 0};
        folding block;
        fold_begin(block, state, data);
        const __m512i stride = constants_512(DWCP_BY_4096);
        for (data += STRIDE; data < end; data += STRIDE) {
#pragma GCC unroll 8
            for (int i = 0; i < BLOCKS; i++) {
                block[i] = fold_512(block[i], stride, read_512(data + 64 * i));
                lanes(in, at, i);
            }
            for (int lane = 0; lane < 3; lane++)
                at[lane] += LANE;
        }
        for (int word = 0; word < BLOCKS; word++)
            lanes(in, at, word);
        state = fold_end(block);
        for (int lane = 0; lane < 3; lane++)
            state = times(state, by) ^ (uint32_t)in[lane];
        data = at[2] + LANE;
        length -= turns * TURN;
    }
    return dwcp_crc_avx512(state, data, length);
}
#endif
