/* Finding memory that holds nothing but zeros. */
#include "core.h"

#include <string.h>

static uint64_t word_at(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

bool dwcp_zero_scalar(const uint8_t *data, size_t length)
{
    while (length >= 64) {
        uint64_t any = word_at(data) | word_at(data + 8) | word_at(data + 16) | word_at(data + 24) | word_at(data + 32) |
                       word_at(data + 40) | word_at(data + 48) | word_at(data + 56);
        if (any)
            return false;
        data += 64;
        length -= 64;
    }
    while (length >= 8) {
        if (word_at(data))
            return false;
        data += 8;
        length -= 8;
    }
    while (length--)
        if (*data++)
            return false;
    return true;
}

#if DWCP_X86_VECTOR
#include <immintrin.h>

__attribute__((target("avx2"))) bool dwcp_zero_avx2(const uint8_t *data, size_t length)
{
    while (length >= 128) {
        const __m256i *at = (const __m256i *)(const void *)data;
        __m256i left = _mm256_or_si256(_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1));
        __m256i right = _mm256_or_si256(_mm256_loadu_si256(at + 2), _mm256_loadu_si256(at + 3));
        __m256i any = _mm256_or_si256(left, right);
        if (!_mm256_testz_si256(any, any))
            return false;
        data += 128;
        length -= 128;
    }
    return dwcp_zero_scalar(data, length);
}
#endif
