/* CRC-32C by carry-less multiplication of 128 and of 256 bits at a time. */
#include "clmul.h"

#if DWCP_X86_VECTOR
dwcp_fold_by dwcp_fold_table[DWCP_BY_COUNT];

void dwcp_crc_clmul_init(void)
{
    for (int i = 0; i < DWCP_BY_COUNT; i++) {
        const unsigned bits = 128u << i;
        dwcp_fold_table[i] = (dwcp_fold_by){(uint64_t)dwcp_crc_power(bits + 32) << 1, (uint64_t)dwcp_crc_power(bits - 32) << 1};
    }
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

    const __m128i stride = constants_128(DWCP_BY_1024);
    while (length >= STRIDE) {
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_128(block[i], stride, read_128(data + 16 * i));
        data += STRIDE;
        length -= STRIDE;
    }
    const __m128i next = constants_128(DWCP_BY_128);
    __m128i all = block[0];
    for (int i = 1; i < BLOCKS; i++)
        all = fold_128(all, next, block[i]);
    return dwcp_crc_sse42(reduce_128(all), data, length);
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

    const __m256i stride = constants_256(DWCP_BY_2048);
    while (length >= STRIDE) {
        for (int i = 0; i < BLOCKS; i++)
            block[i] = fold_256(block[i], stride, read_256(data + 32 * i));
        data += STRIDE;
        length -= STRIDE;
    }
    const __m256i next = constants_256(DWCP_BY_256);
    __m256i all = block[0];
    for (int i = 1; i < BLOCKS; i++)
        all = fold_256(all, next, block[i]);
    __m128i joined = fold_128(_mm256_castsi256_si128(all), constants_128(DWCP_BY_128), _mm256_extracti128_si256(all, 1));
    return dwcp_crc_sse42(reduce_128(joined), data, length);
}
#endif
