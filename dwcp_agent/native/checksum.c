/* CRC-32C (Castagnoli, reflected 0x82F63B78), slicing by eight: the path every machine has, and the arithmetic the others need. */
#include "core.h"
#include "words.h"

static const uint32_t POLYNOMIAL = 0x82F63B78u;

static uint32_t table[8][256];

uint32_t dwcp_crc_power(unsigned n)
{
    uint32_t value = 0x80000000u; /* x^0: the highest bit, since bit i stands for x^(31-i) */
    while (n--)
        value = (value >> 1) ^ ((value & 1u) ? POLYNOMIAL : 0u);
    return value;
}

void dwcp_crc_tables_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1u) ? POLYNOMIAL : 0u);
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = table[slice - 1][byte];
            table[slice][byte] = (before >> 8) ^ table[0][before & 0xFFu];
        }
}

uint32_t dwcp_crc_scalar(uint32_t state, const uint8_t *data, size_t length)
{
    while (length >= 8) {
        uint64_t word = dwcp_load64_le(data) ^ state;
        state = table[7][word & 0xFF] ^ table[6][(word >> 8) & 0xFF] ^ table[5][(word >> 16) & 0xFF] ^
                table[4][(word >> 24) & 0xFF] ^ table[3][(word >> 32) & 0xFF] ^ table[2][(word >> 40) & 0xFF] ^
                table[1][(word >> 48) & 0xFF] ^ table[0][word >> 56];
        data += 8;
        length -= 8;
    }
    while (length--)
        state = (state >> 8) ^ table[0][(state ^ *data++) & 0xFFu];
    return state;
}
