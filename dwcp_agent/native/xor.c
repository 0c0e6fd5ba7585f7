/* Exclusive or of two buffers, the delta between two states of the same memory. */
#include "core.h"
#include "words.h"

void dwcp_xor_scalar(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 32; at += 32) {
        uint64_t first = dwcp_load64(left + at) ^ dwcp_load64(right + at);
        uint64_t second = dwcp_load64(left + at + 8) ^ dwcp_load64(right + at + 8);
        uint64_t third = dwcp_load64(left + at + 16) ^ dwcp_load64(right + at + 16);
        uint64_t fourth = dwcp_load64(left + at + 24) ^ dwcp_load64(right + at + 24);
        dwcp_store64(out + at, first);
        dwcp_store64(out + at + 8, second);
        dwcp_store64(out + at + 16, third);
        dwcp_store64(out + at + 24, fourth);
    }
    for (; length - at >= 8; at += 8)
        dwcp_store64(out + at, dwcp_load64(left + at) ^ dwcp_load64(right + at));
    for (; at < length; at++)
        out[at] = left[at] ^ right[at];
}

#if DWCP_X86_VECTOR
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

AVX2 static inline __m256i xor_256(const uint8_t *left, const uint8_t *right)
{
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)left),
                            _mm256_loadu_si256((const __m256i *)(const void *)right));
}

AVX2 static inline void store_256(uint8_t *out, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)out, value);
}

AVX2 void dwcp_xor_avx2(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 128; at += 128) {
        __m256i first = xor_256(left + at, right + at), second = xor_256(left + at + 32, right + at + 32);
        __m256i third = xor_256(left + at + 64, right + at + 64), fourth = xor_256(left + at + 96, right + at + 96);
        store_256(out + at, first);
        store_256(out + at + 32, second);
        store_256(out + at + 64, third);
        store_256(out + at + 96, fourth);
    }
    dwcp_xor_scalar(out + at, left + at, right + at, length - at);
}

AVX512 static inline __m512i xor_512(const uint8_t *left, const uint8_t *right)
{
    return _mm512_xor_si512(_mm512_loadu_si512((const void *)left), _mm512_loadu_si512((const void *)right));
}

AVX512 void dwcp_xor_avx512(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 256; at += 256) {
        __m512i first = xor_512(left + at, right + at), second = xor_512(left + at + 64, right + at + 64);
        __m512i third = xor_512(left + at + 128, right + at + 128), fourth = xor_512(left + at + 192, right + at + 192);
        _mm512_storeu_si512((void *)(out + at), first);
        _mm512_storeu_si512((void *)(out + at + 64), second);
        _mm512_storeu_si512((void *)(out + at + 128), third);
        _mm512_storeu_si512((void *)(out + at + 192), fourth);
    }
    while (at < length) {
        size_t step = length - at < 64 ? length - at : 64;
        __mmask64 which = step == 64 ? ~0ull : (1ull << step) - 1;
        _mm512_mask_storeu_epi8(out + at, which,
                                _mm512_xor_si512(_mm512_maskz_loadu_epi8(which, left + at), _mm512_maskz_loadu_epi8(which, right + at)));
        at += step;
    }
}
#endif
