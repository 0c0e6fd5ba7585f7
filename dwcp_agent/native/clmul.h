/*
 * CRC-32C by carry-less multiplication: what its paths have in common.
 *
 * A block of 128 bits, read as a polynomial A of which the low 64 bits hold the high powers, is moved D bits towards higher powers by
 *     lo(A) * (x^(D+32) mod P) + hi(A) * (x^(D-32) mod P)
 * where each constant is stored reflected and shifted left by one: the reflected 64x64 product carries one factor x of its own, and a
 * 32-bit constant in a 64-bit register one of x^31, together x^32. Several blocks move side by side to hide the multiplier's latency; what
 * remains at the end, 128 bits, goes through the CRC instruction.
 */
#ifndef DWCP_CLMUL_H
#define DWCP_CLMUL_H

#include "core.h"

#if DWCP_X86_VECTOR
#include <immintrin.h>

#define PCLMUL __attribute__((target("sse4.2,pclmul")))
#define VPCLMUL __attribute__((target("avx2,sse4.2,pclmul,vpclmulqdq")))
#define VPCLMUL512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,sse4.2,pclmul,vpclmulqdq")))

typedef struct {
    uint64_t lo;
    uint64_t hi;
} dwcp_fold_by;

/* Moves by 128, 256, ... 4096 bits. */
enum { DWCP_BY_128, DWCP_BY_256, DWCP_BY_512, DWCP_BY_1024, DWCP_BY_2048, DWCP_BY_4096, DWCP_BY_COUNT };
extern dwcp_fold_by dwcp_fold_table[DWCP_BY_COUNT];

PCLMUL static inline __m128i constants_128(int by)
{
    return _mm_set_epi64x((long long)dwcp_fold_table[by].hi, (long long)dwcp_fold_table[by].lo);
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

VPCLMUL static inline __m256i constants_256(int by)
{
    return _mm256_broadcastsi128_si256(constants_128(by));
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

#endif
#endif
