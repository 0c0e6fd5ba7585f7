/* Exclusive or: every path, apart and in place, on any length and offsets, says what the scalar one says and writes nothing beside it. */
#include "target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    dwcp_dispatch_init();
    return 0;
}

static void agrees(const dwcp_path *path, const block *left, const block *right, const block *expected, size_t length, size_t offset)
{
    block out = block_of(right->data, length, offset), here = block_of(left->data, length, offset), there = block_of(right->data, length, 0);
    path->fn.xor(out.data, left->data, right->data, length);
    path->fn.xor(here.data, here.data, right->data, length);
    path->fn.xor(there.data, left->data, there.data, length);
    expect(!length || !memcmp(out.data, expected->data, length), "xor", path->name);
    expect(!length || !memcmp(here.data, expected->data, length), "xor over its left side", path->name);
    expect(!length || !memcmp(there.data, expected->data, length), "xor over its right side", path->name);
    free(out.memory);
    free(here.memory);
    free(there.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    given from = {data, size};
    const size_t length = next_number(&from) % 9000, first = next_number(&from) % 64, second = next_number(&from) % 64;
    block left = long_block(&from, length, first), right = long_block(&from, length, second), expected = block_of(left.data, length, 0);
    for (size_t at = 0; at < length; at++)
        expected.data[at] ^= right.data[at];
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_XOR, i)) != NULL; i++)
        agrees(path, &left, &right, &expected, length, (first + second) % 64);
    free(left.memory);
    free(right.memory);
    free(expected.memory);
    return 0;
}
