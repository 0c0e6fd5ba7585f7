/* Content-defined chunks: every path finds the scalar one's ends, for any content, sizes and room, and in two calls those of one. */
#include "target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    dwcp_dispatch_init();
    return 0;
}

enum { ROOM = 1100 };

static void are_ends(const dwcp_chunking *how, const size_t *ends, size_t count, size_t length, bool final, size_t room)
{
    size_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        expect(ends[i] > begin && ends[i] <= length && ends[i] - begin <= how->most, "chunker: an end", "scalar");
        expect(ends[i] - begin >= how->least || (final && ends[i] == length), "chunker: a short chunk", "scalar");
        begin = ends[i];
    }
    expect(!final || count == room || begin == length, "chunker: the last end", "scalar");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t expected[ROOM], found[ROOM];
    given from = {data, size};
    const size_t length = next_number(&from) * 2, offset = next_number(&from) % 64, least = 64 + next_number(&from) % 2000;
    const size_t normal = least + next_number(&from) % 4000, most = normal + next_number(&from) % 9000, flags = next_number(&from);
    const uint32_t even = (uint32_t)(((uint64_t)1 << 32) / normal);
    const dwcp_chunking how = {least, normal, most, even / (1 + (flags >> 3) % 8), even * (1 + (flags >> 6) % 4)};
    const bool final = flags & 1;
    const size_t room = flags & 2 ? ROOM : 1 + (flags >> 8) % 20;
    block in = long_block(&from, length, offset);
    const size_t count = dwcp_chunk_scalar(&how, in.data, length, final, expected, room);
    are_ends(&how, expected, count, length, final, room);
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_CHUNK, i)) != NULL; i++) {
        expect(path->fn.chunk(&how, in.data, length, final, found, room) == count, "chunker: the count", path->name);
        expect(!memcmp(found, expected, count * sizeof *found), "chunker: the ends", path->name);
    }
    /* What is sure without the end of the content is so with it, too. */
    const size_t sure = dwcp_chunk_scalar(&how, in.data, length / 2, false, found, room);
    expect(sure <= count && !memcmp(found, expected, sure * sizeof *found), "chunker: the sure ends", "scalar");
    free(in.memory);
    return 0;
}
