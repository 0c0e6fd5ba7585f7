/* What the core's targets share: the fuzzer's bytes as values, blocks of exactly a length, and every path of a kernel. */
#ifndef DWCP_FUZZ_TARGET_H
#define DWCP_FUZZ_TARGET_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *data;
    size_t left;
} given;

/* 0 to 65535, of the next two bytes; of what is not there, 0. */
static inline size_t next_number(given *from)
{
    size_t value = 0;
    for (int i = 0; i < 2; i++) {
        value = value << 8 | (from->left ? *from->data : 0);
        if (from->left) {
            from->data++;
            from->left--;
        }
    }
    return value;
}

static inline void expect(bool good, const char *what, const char *path)
{
    if (!good) {
        fprintf(stderr, "%s differs on %s\n", what, path);
        abort();
    }
}

/* Memory of exactly `length` bytes from `data` on, `offset` bytes off alignment: a sanitizer sees each byte beside it. */
typedef struct {
    uint8_t *memory;
    uint8_t *data;
} block;

static inline block block_of(const uint8_t *content, size_t length, size_t offset)
{
    block made = {.memory = calloc(length + offset + !(length + offset), 1)};
    if (!made.memory)
        abort();
    made.data = made.memory + offset;
    if (length)
        memcpy(made.data, content, length);
    return made;
}

/* The given bytes again and again, until there are `length`, with one run of one byte in it: so that few bytes make long content. */
static inline block long_block(given *from, size_t length, size_t offset)
{
    const size_t run_at = next_number(from), run = next_number(from), filler = next_number(from);
    block made = block_of(NULL, 0, length + offset);
    made.data = made.memory + offset;
    for (size_t at = 0; at < length; at++)
        made.data[at] = from->left ? (uint8_t)(from->data[at % from->left] + at / from->left * (filler >> 8)) : 0;
    for (size_t at = run_at; at < length && at - run_at < run; at++)
        made.data[at] = (uint8_t)filler;
    return made;
}

#endif
