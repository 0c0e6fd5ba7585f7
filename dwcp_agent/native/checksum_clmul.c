/*
 * CRC-32C by carry-less multiplication.
 *
 * A block of 128 bits, read as a polynomial A of which the low 64 bits hold the high powers, is moved D bits towards higher powers by
 *     lo(A) * (x^(D+32) mod P) + hi(A) * (x^(D-32) mod P)
 * where each constant is stored reflected and shifted left by one: the reflected 64x64 product carries one factor x of its own, and a
 * 32-bit constant in a 64-bit register one of x^31, together x^32. Several blocks move side by side to hide the multiplier's latency; what
 * remains at the end, 128 bits, goes through the CRC instruction.
 */
#include "core.h"

#if DWCP_X86_VECTOR
#include <immintrin.h>

typedef struct {
    uint64_t lo;
    uint64_t hi;
} fold_by;

static fold_by by_128, by_256, by_512, by_1024, by_2048, by_4096;

static fold_by fold_constants(unsigned bits)
{
    fold_by by = {(uint64_t)dwcp_crc_power(bits + 32) << 1, (uint64_t)dwcp_crc_power(bits - 32) << 1};
    return by;
}

void dwcp_crc_clmul_init(void)
{
    by_128 = fold_constants(128);
    by_256 = fold_constants(256);
    by_512 = fold_constants(512);
    by_1024 = fold_constants(1024);
    by_2048 = fold_constants(2048);
    by_4096 = fold_constants(4096);
}

#define PCLMUL __attribute__((target("sse4.2,pclmul")))
#define VPCLMUL __attribute__((target("avx2,sse4.2,pclmul,vpclmulqdq")))
#define VPCLMUL512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,sse4.2,pclmul,vpclmulqdq")))

PCLMUL static inline __m128i constants_128(fold_by by)
{
    return _mm_set_epi64x((long long)by.hi, (long long)by.lo);
}

PCLMUL static inline __m128i fold_128(__m128i block, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(block, by, 0x00);
    __m128i high = _mm_clmulepi64_si128(block, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

PCLMUL static inline uint32_t reduce_128(__m128i block)
{
    uint64_t state = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(block));
    return (uint32_t)_mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(block, 1));
}

PCLMUL static inline __m128i read_128(const uint8_t *data)
{
    return _mm_loadu_si128((const __m128i *)(const void *)data);
}

PCLMUL uint32_t dwcp_crc_pclmul(uint32_t state, const uint8_t *data, size_t length)
{
    enum { BLOCKS = 8, STRIDE = 16 * BLOCKS };
    if (length < 4 * STRIDE)
        return dwcp_crc_sse42(state, data, length);

    __m128i block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        block[i] = read_128(data + 16 * i);
    block[0] = _mm_xor_si128(block[0], _mm_cvtsi32_si128((int)state));
    data += STRIDE;
    length -= STRIDE;

    const __m128i stride = constants_128(by_1024);
    while (length >= STRIDE) {
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_128(block[i], stride, read_128(data + 16 * i));
        data += STRIDE;
        length -= STRIDE;
    }
    const __m128i next = constants_128(by_128);
    __m128i all = block[0];
    for (int i = 1; i < BLOCKS; i++)
        all = fold_128(all, next, block[i]);
    return dwcp_crc_sse42(reduce_128(all), data, length);
}

VPCLMUL static inline __m256i constants_256(fold_by by)
{
    return _mm256_set_epi64x((long long)by.hi, (long long)by.lo, (long long)by.hi, (long long)by.lo);
}

VPCLMUL static inline __m256i fold_256(__m256i block, __m256i by, __m256i next)
{
    __m256i low = _mm256_clmulepi64_epi128(block, by, 0x00);
    __m256i high = _mm256_clmulepi64_epi128(block, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), next);
}

VPCLMUL static inline __m256i read_256(const uint8_t *data)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)data);
}

VPCLMUL uint32_t dwcp_crc_avx2(uint32_t state, const uint8_t *data, size_t length)
{
    enum { BLOCKS = 8, STRIDE = 32 * BLOCKS };
    if (length < 2 * STRIDE)
        return dwcp_crc_pclmul(state, data, length);

    __m256i block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        block[i] = read_256(data + 32 * i);
    block[0] = _mm256_xor_si256(block[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)state)));
    data += STRIDE;
    length -= STRIDE;

    const __m256i stride = constants_256(by_2048);
    while (length >= STRIDE) {
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_256(block[i], stride, read_256(data + 32 * i));
        data += STRIDE;
        length -= STRIDE;
    }
    const __m256i next = constants_256(by_256);
    __m256i all = block[0];
    for (int i = 1; i < BLOCKS; i++)
        all = fold_256(all, next, block[i]);
    __m128i joined = fold_128(_mm256_castsi256_si128(all), constants_128(by_128), _mm256_extracti128_si256(all, 1));
    return dwcp_crc_sse42(reduce_128(joined), data, length);
}

VPCLMUL512 static inline __m512i constants_512(fold_by by)
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

VPCLMUL512 uint32_t dwcp_crc_avx512(uint32_t state, const uint8_t *data, size_t length)
{
    enum { BLOCKS = 8, STRIDE = 64 * BLOCKS };
    if (length < STRIDE)
        return dwcp_crc_avx2(state, data, length);

    __m512i block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        block[i] = read_512(data + 64 * i);
    block[0] = _mm512_xor_si512(block[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
    data += STRIDE;
    length -= STRIDE;

    const __m512i stride = constants_512(by_4096);
    while (length >= STRIDE) {
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_512(block[i], stride, read_512(data + 64 * i));
        data += STRIDE;
        length -= STRIDE;
    }
    /* Halves of halves rather than one after the other: three steps of latency instead of seven. */
    for (int i = 0; i < 4; i++)
        block[i] = fold_512(block[i], constants_512(by_2048), block[i + 4]);
    for (int i = 0; i < 2; i++)
        block[i] = fold_512(block[i], constants_512(by_1024), block[i + 2]);
    __m512i all = fold_512(block[0], constants_512(by_512), block[1]);
    __m256i half = fold_256(_mm512_castsi512_si256(all), constants_256(by_256), _mm512_extracti64x4_epi64(all, 1));
    __m128i joined = fold_128(_mm256_castsi256_si128(half), constants_128(by_128), _mm256_extracti128_si256(half, 1));
    return dwcp_crc_sse42(reduce_128(joined), data, length);
}
#endif
