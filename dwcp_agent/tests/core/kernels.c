/*
 * Every path of every kernel against the scalar one, on blocks of exactly the length asked for: a sanitizer sees each byte read or written
 * outside. Also what a fuzzer would do: lengths, offsets and contents at random.
 *
 *     kernels ROUNDS SEED
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

static uint64_t state;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void fail(const char *what, const char *path, size_t length, size_t offset)
{
    fprintf(stderr, "%s on %s differs at length %zu, offset %zu\n", what, path, length, offset);
    exit(1);
}

/* A block that ends exactly where its content ends, `offset` bytes off alignment. */
typedef struct {
    uint8_t *memory;
    uint8_t *data;
} block;

static block block_of(size_t length, size_t offset, const uint8_t *content)
{
    block made = {.memory = malloc(length + offset ? length + offset : 1)};
    if (!made.memory)
        exit(2);
    made.data = made.memory + offset;
    if (length)
        memcpy(made.data, content, length);
    return made;
}

static void check_crc(const block *in, size_t length, size_t offset)
{
    const uint32_t from = (uint32_t)next_random();
    const uint32_t expected = dwcp_crc_scalar(from, in->data, length);
    const size_t cut = length ? next_random() % length : 0;
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_CRC, i)) != NULL; i++) {
        if (path->fn.crc(from, in->data, length) != expected)
            fail("crc32c", path->name, length, offset);
        if (path->fn.crc(path->fn.crc(from, in->data, cut), in->data + cut, length - cut) != expected)
            fail("crc32c in two", path->name, length, offset);
    }
}

static void check_scans(const block *in, size_t length, size_t offset)
{
    block zero = block_of(length, offset, in->data);
    block same = block_of(length, offset, in->data);
    if (length)
        memset(zero.data, 0, length);
    const size_t at = length ? next_random() % length : 0;
    const dwcp_path *path;
    for (int changed = 0; changed < 2; changed++) {
        const bool expected = !changed || !length;
        for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_ZERO, i)) != NULL; i++)
            if (path->fn.zero(zero.data, length) != expected)
                fail("pagescan", path->name, length, offset);
        for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_EQUAL, i)) != NULL; i++)
            if (path->fn.equal(in->data, same.data, length) != expected)
                fail("pagecompare", path->name, length, offset);
        if (length) {
            zero.data[at] ^= 0x40;
            same.data[at] ^= 0x01;
        }
    }
    free(zero.memory);
    free(same.memory);
}

static void check_xor(const block *in, size_t length, size_t offset, const uint8_t *content)
{
    block other = block_of(length, (offset + 5) % 64, content);
    block expected = block_of(length, 0, content), out = block_of(length, 3, content);
    dwcp_xor_scalar(expected.data, in->data, other.data, length);
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_XOR, i)) != NULL; i++) {
        path->fn.xor(out.data, in->data, other.data, length);
        if (length && memcmp(out.data, expected.data, length) != 0)
            fail("xor", path->name, length, offset);
        block here = block_of(length, offset, in->data);
        path->fn.xor(here.data, here.data, other.data, length);
        if (length && memcmp(here.data, expected.data, length) != 0)
            fail("xor in place", path->name, length, offset);
        free(here.memory);
    }
    free(other.memory);
    free(expected.memory);
    free(out.memory);
}

static void check_chunks(const block *in, size_t length, size_t offset)
{
    enum { ROOM = 4096 };
    static size_t expected[ROOM], found[ROOM];
    const size_t average = 256u << next_random() % 5;
    const uint32_t even = (uint32_t)(((uint64_t)1 << 32) / average);
    const dwcp_chunking how = {average / 4, average, average * 4, even / 4, even * 4};
    const bool final = next_random() % 2;
    const size_t room = next_random() % 4 ? ROOM : 1 + next_random() % 20;
    const size_t count = dwcp_chunk_scalar(&how, in->data, length, final, expected, room);
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_CHUNK, i)) != NULL; i++)
        if (path->fn.chunk(&how, in->data, length, final, found, room) != count || memcmp(found, expected, count * sizeof *found) != 0)
            fail("chunker", path->name, length, offset);
}

int main(int argc, char **argv)
{
    enum { LONGEST = 200000 };
    if (argc != 3) {
        fprintf(stderr, "kernels ROUNDS SEED\n");
        return 2;
    }
    const unsigned long rounds = strtoul(argv[1], NULL, 10);
    state = strtoul(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
    dwcp_dispatch_init();
    uint8_t *content = malloc(LONGEST);
    if (!content)
        return 2;
    for (unsigned long round = 0; round < rounds; round++) {
        /* Every short length in turn, then long ones; now and then with runs in it. */
        const size_t length = round < 1600 ? round : next_random() % LONGEST;
        const size_t offset = next_random() % 64;
        for (size_t at = 0; at < length; at++)
            content[at] = (uint8_t)(next_random() >> 24);
        if (length && next_random() % 2) {
            const size_t from = next_random() % length;
            memset(content + from, (int)(next_random() % 256), next_random() % (length - from + 1));
        }
        block in = block_of(length, offset, content);
        check_crc(&in, length, offset);
        check_scans(&in, length, offset);
        check_xor(&in, length, offset, content);
        check_chunks(&in, length, offset);
        free(in.memory);
    }
    free(content);
    const dwcp_path *path;
    for (int kernel = 0; kernel < DWCP_KERNELS; kernel++) {
        printf("%s:", dwcp_kernel_name(kernel));
        for (size_t i = 0; (path = dwcp_dispatch_path(kernel, i)) != NULL; i++)
            printf(" %s", path->name);
        printf("\n");
    }
    return 0;
}
