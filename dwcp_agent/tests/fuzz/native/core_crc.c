/* CRC-32C: every path, on any length, offset and split, from any state, says what the scalar one says. */
#include "target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    dwcp_dispatch_init();
    return 0;
}

static void agrees(const char *name, dwcp_crc_fn crc, const block *in, size_t length, size_t cut, uint32_t from, uint32_t expected)
{
    expect(crc(from, in->data, length) == expected, "crc32c", name);
    expect(crc(crc(from, in->data, cut), in->data + cut, length - cut) == expected, "crc32c in two", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    given from = {data, size};
    const size_t about = next_number(&from), length = about & 1 ? about / 2 : about / 2 % 2000, offset = next_number(&from) % 64, second = next_number(&from);
    const size_t cut = length ? second % length : 0;
    const uint32_t state = (uint32_t)(next_number(&from) << 16 | second);
    block in = long_block(&from, length, offset);
    const uint32_t expected = dwcp_crc_scalar(state, in.data, length);
    uint32_t by_bytes = state;
    for (size_t at = 0; at < length; at++)
        by_bytes = dwcp_crc_scalar(by_bytes, in.data + at, 1);
    expect(by_bytes == expected, "crc32c byte by byte", "scalar");
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(DWCP_CRC, i)) != NULL; i++)
        agrees(path->name, path->fn.crc, &in, length, cut, state, expected);
#if DWCP_X86_VECTOR
    /* Chosen on few processors, but whatever has the sets can run it. */
    const unsigned needs = DWCP_SSE42 | DWCP_PCLMUL | DWCP_VPCLMUL | DWCP_AVX2 | DWCP_AVX512;
    if ((dwcp_cpu_detect() & needs) == needs)
        agrees("avx512+crc", dwcp_crc_paired, &in, length, cut, state, expected);
#endif
    free(in.memory);
    return 0;
}
