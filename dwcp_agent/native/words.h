/* Reading and writing words wherever they lie. */
#ifndef DWCP_WORDS_H
#define DWCP_WORDS_H

#include <stdint.h>
#include <string.h>

static inline uint64_t dwcp_load64(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static inline void dwcp_store64(uint8_t *data, uint64_t word)
{
    memcpy(data, &word, sizeof word);
}

/* The eight bytes as a number whose lowest byte is the first, on every machine. */
static inline uint64_t dwcp_load64_le(const uint8_t *data)
{
    uint64_t word = dwcp_load64(data);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

#endif
