/* Finding memory that holds nothing but zeros, and memory that holds the same. */
#include "core.h"
#include "words.h"

bool dwcp_zero_scalar(const uint8_t *data, size_t length)
{
    while (length >= 64) {
        uint64_t any = dwcp_load64(data) | dwcp_load64(data + 8) | dwcp_load64(data + 16) | dwcp_load64(data + 24) |
                       dwcp_load64(data + 32) | dwcp_load64(data + 40) | dwcp_load64(data + 48) | dwcp_load64(data + 56);
        if (any)
            return false;
        data += 64;
        length -= 64;
    }
    while (length >= 8) {
        if (dwcp_load64(data))
            return false;
        data += 8;
        length -= 8;
    }
    while (length--)
        if (*data++)
            return false;
    return true;
}

static inline uint64_t difference(const uint8_t *left, const uint8_t *right, size_t at)
{
    return dwcp_load64(left + at) ^ dwcp_load64(right + at);
}

bool dwcp_equal_scalar(const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 32; at += 32)
        if (difference(left, right, at) | difference(left, right, at + 8) | difference(left, right, at + 16) |
            difference(left, right, at + 24))
            return false;
    for (; length - at >= 8; at += 8)
        if (difference(left, right, at))
            return false;
    for (; at < length; at++)
        if (left[at] != right[at])
            return false;
    return true;
}

#if DWCP_X86_VECTOR
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

AVX2 static inline __m256i load_256(const uint8_t *data)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)data);
}

AVX2 bool dwcp_zero_avx2(const uint8_t *data, size_t length)
{
    while (length >= 128) {
        __m256i left = _mm256_or_si256(load_256(data), load_256(data + 32));
        __m256i right = _mm256_or_si256(load_256(data + 64), load_256(data + 96));
        __m256i any = _mm256_or_si256(left, right);
        if (!_mm256_testz_si256(any, any))
            return false;
        data += 128;
        length -= 128;
    }
    return dwcp_zero_scalar(data, length);
}

AVX2 static inline __m256i difference_256(const uint8_t *left, const uint8_t *right, size_t at)
{
    return _mm256_xor_si256(load_256(left + at), load_256(right + at));
}

AVX2 bool dwcp_equal_avx2(const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 128; at += 128) {
        __m256i first = _mm256_or_si256(difference_256(left, right, at), difference_256(left, right, at + 32));
        __m256i second = _mm256_or_si256(difference_256(left, right, at + 64), difference_256(left, right, at + 96));
        __m256i any = _mm256_or_si256(first, second);
        if (!_mm256_testz_si256(any, any))
            return false;
    }
    return dwcp_equal_scalar(left + at, right + at, length - at);
}

AVX512 static inline __m512i load_512(const uint8_t *data)
{
    return _mm512_loadu_si512((const void *)data);
}

AVX512 static inline __mmask64 first_bytes(size_t count)
{
    return count >= 64 ? ~0ull : (1ull << count) - 1;
}

enum { OR3 = 0xFE, OR_XOR = 0xF6 }; /* truth tables: a | b | c, and a | (b ^ c) */

AVX512 bool dwcp_zero_avx512(const uint8_t *data, size_t length)
{
    while (length >= 256) {
        __m512i any = _mm512_ternarylogic_epi64(load_512(data), load_512(data + 64), load_512(data + 128), OR3);
        any = _mm512_or_si512(any, load_512(data + 192));
        if (_mm512_test_epi64_mask(any, any))
            return false;
        data += 256;
        length -= 256;
    }
    while (length) {
        __m512i some = _mm512_maskz_loadu_epi8(first_bytes(length), data);
        if (_mm512_test_epi64_mask(some, some))
            return false;
        size_t step = length < 64 ? length : 64;
        data += step;
        length -= step;
    }
    return true;
}

AVX512 bool dwcp_equal_avx512(const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t at = 0;
    for (; length - at >= 256; at += 256) {
        __m512i any = _mm512_xor_si512(load_512(left + at), load_512(right + at));
        any = _mm512_ternarylogic_epi64(any, load_512(left + at + 64), load_512(right + at + 64), OR_XOR);
        any = _mm512_ternarylogic_epi64(any, load_512(left + at + 128), load_512(right + at + 128), OR_XOR);
        any = _mm512_ternarylogic_epi64(any, load_512(left + at + 192), load_512(right + at + 192), OR_XOR);
        if (_mm512_test_epi64_mask(any, any))
            return false;
    }
    while (at < length) {
        __mmask64 which = first_bytes(length - at);
        if (_mm512_mask_cmpneq_epu8_mask(which, _mm512_maskz_loadu_epi8(which, left + at), _mm512_maskz_loadu_epi8(which, right + at)))
            return false;
        at += length - at < 64 ? length - at : 64;
    }
    return true;
}
#endif
