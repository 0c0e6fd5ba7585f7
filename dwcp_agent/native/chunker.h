/* What the chunker's paths share. Not for others. */
#ifndef DWCP_CHUNKER_H
#define DWCP_CHUNKER_H

#include "core.h"

/* What a byte adds to the hash: low[b & 15] ^ high[b >> 4], which one permute instruction each can look up. */
typedef struct {
    uint32_t low[16];
    uint32_t high[16];
} dwcp_gear;

extern dwcp_gear dwcp_gear_table;

enum {
    DWCP_GEAR_WINDOW = 32, /* bytes: with one shift a byte, the 33rd has left the 32-bit hash */
    DWCP_GROUP = 64,       /* bytes whose ends one bit of a mark stands for */
    DWCP_BLOCK = 32768,    /* bytes that are marked at once */
};

/*
 * Sets bit g of `marks` when an end in (base + 64 g, base + 64 g + 64] may have a hash below `limit`; every end that has is in a group that
 * is marked. `groups` is at most DWCP_BLOCK / DWCP_GROUP; `marks` comes cleared. Of the first 64 bytes of `data` nothing is promised.
 */
typedef void (*dwcp_mark_fn)(const uint8_t *data, size_t base, size_t groups, uint32_t limit, uint64_t *marks);

/* dwcp_chunk_fn by way of marks. */
size_t dwcp_chunk_marked(dwcp_mark_fn mark, const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends,
                         size_t room);

#endif
