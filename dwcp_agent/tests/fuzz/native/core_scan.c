/* The scans for zeros and for the same, and the checksum of pages: every path on any length and offset, page by page. */
#include "target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    dwcp_dispatch_init();
    return 0;
}

static bool any(const uint8_t *data, size_t length)
{
    uint8_t bits = 0;
    for (size_t at = 0; at < length; at++)
        bits |= data[at];
    return bits != 0;
}

/* One page, in blocks that end where it ends. */
static void agrees(const uint8_t *page, const uint8_t *other, size_t length, size_t offset)
{
    block left = block_of(page, length, offset), right = block_of(other, length, 63 - offset);
    const bool zero = !any(page, length), equal = !length || !memcmp(page, other, length);
    const uint32_t sum = ~dwcp_crc_scalar(~0u, page, length);
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_ZERO, i)) != NULL; i++)
        expect(path->fn.zero(left.data, length) == zero, "pagescan", path->name);
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_EQUAL, i)) != NULL; i++) {
        expect(path->fn.equal(left.data, right.data, length) == equal, "pagecompare", path->name);
        expect(path->fn.equal(left.data, page, length), "pagecompare with itself", path->name);
    }
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_CRC, i)) != NULL; i++)
        expect(~path->fn.crc(~0u, left.data, length) == sum, "page sum", path->name);
    free(left.memory);
    free(right.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    given from = {data, size};
    const size_t length = next_number(&from) % 20000, offset = next_number(&from) % 64, at = next_number(&from);
    const size_t change = next_number(&from), page = 1 + next_number(&from) % 5000;
    block in = long_block(&from, length, offset), other = block_of(in.data, length, 0);
    if (length)
        other.data[at % length] ^= (uint8_t)change;
    /* Few pages of any size rather than thousands of small ones. */
    for (size_t begin = 0, pages = 0; begin < length && pages < 40; begin += page, pages++)
        agrees(in.data + begin, other.data + begin, length - begin < page ? length - begin : page, offset);
    agrees(in.data, other.data, length, offset);
    free(in.memory);
    free(other.memory);
    return 0;
}
