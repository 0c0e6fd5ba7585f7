/* The one place that decides which path of each kernel runs. */
#include "core.h"

#include <stdatomic.h>

/* Below AVX-512 nothing but what AVX2 machines have: switching one set off takes the paths above it along. */
enum {
    CLMUL = DWCP_SSE42 | DWCP_PCLMUL,
    WIDE_CLMUL = CLMUL | DWCP_AVX2 | DWCP_VPCLMUL,
    WIDE = DWCP_AVX2 | DWCP_AVX512,
};

enum { MAX_PATHS = 6 };

/* Weakest first; the last that may run is taken. */
static const dwcp_path PATHS[DWCP_KERNELS][MAX_PATHS + 1] = {
    [DWCP_CRC] =
        {
            {"scalar", 0, {.crc = dwcp_crc_scalar}},
#if DWCP_X86_VECTOR
            {"sse42", DWCP_SSE42, {.crc = dwcp_crc_sse42}},
            {"pclmul", CLMUL, {.crc = dwcp_crc_pclmul}},
            {"avx2", WIDE_CLMUL, {.crc = dwcp_crc_avx2}},
            {"avx512", WIDE_CLMUL | DWCP_AVX512, {.crc = dwcp_crc_avx512}},
            {"avx512+crc", WIDE_CLMUL | DWCP_AVX512 | DWCP_HALVED, {.crc = dwcp_crc_paired}},
#endif
#if DWCP_ARM_VECTOR
            {"armcrc", DWCP_ARMCRC, {.crc = dwcp_crc_armcrc}},
#endif
        },
    [DWCP_ZERO] =
        {
            {"scalar", 0, {.zero = dwcp_zero_scalar}},
#if DWCP_X86_VECTOR
            {"avx2", DWCP_AVX2, {.zero = dwcp_zero_avx2}},
            {"avx512", WIDE, {.zero = dwcp_zero_avx512}},
#endif
        },
    [DWCP_EQUAL] =
        {
            {"scalar", 0, {.equal = dwcp_equal_scalar}},
#if DWCP_X86_VECTOR
            {"avx2", DWCP_AVX2, {.equal = dwcp_equal_avx2}},
            {"avx512", WIDE, {.equal = dwcp_equal_avx512}},
#endif
        },
    [DWCP_XOR] =
        {
            {"scalar", 0, {.xor = dwcp_xor_scalar}},
#if DWCP_X86_VECTOR
            {"avx2", DWCP_AVX2, {.xor = dwcp_xor_avx2}},
            {"avx512", WIDE, {.xor = dwcp_xor_avx512}},
#endif
        },
    [DWCP_CHUNK] =
        {
            {"scalar", 0, {.chunk = dwcp_chunk_scalar}},
#if DWCP_X86_VECTOR
            {"avx2", DWCP_AVX2, {.chunk = dwcp_chunk_avx2}},
            {"avx512", WIDE, {.chunk = dwcp_chunk_avx512}},
#endif
        },
};

static const char *const NAMES[DWCP_KERNELS] = {
    [DWCP_CRC] = "crc32c", [DWCP_ZERO] = "pagescan", [DWCP_EQUAL] = "pagecompare", [DWCP_XOR] = "xor", [DWCP_CHUNK] = "chunker",
};

static unsigned machine;
static _Atomic(const dwcp_path *) current[DWCP_KERNELS];

void dwcp_dispatch_init(void)
{
    machine = dwcp_cpu_detect();
    dwcp_crc_tables_init();
    dwcp_chunker_init();
#if DWCP_X86_VECTOR
    dwcp_crc_sse42_init();
    dwcp_crc_clmul_init();
    if ((machine & CLMUL) == CLMUL)
        dwcp_crc_paired_init();
#endif
    dwcp_dispatch_select(0);
}

void dwcp_dispatch_select(unsigned disabled)
{
    const unsigned allowed = machine & ~disabled;
    for (int kernel = 0; kernel < DWCP_KERNELS; kernel++) {
        const dwcp_path *best = PATHS[kernel];
        for (const dwcp_path *path = best; path->name; path++)
            if ((path->needs & ~allowed) == 0)
                best = path;
        atomic_store_explicit(&current[kernel], best, memory_order_relaxed);
    }
}

const char *dwcp_kernel_name(dwcp_kernel kernel)
{
    return NAMES[kernel];
}

const dwcp_path *dwcp_dispatch_current(dwcp_kernel kernel)
{
    return atomic_load_explicit(&current[kernel], memory_order_relaxed);
}

const dwcp_path *dwcp_dispatch_path(dwcp_kernel kernel, size_t number)
{
    for (const dwcp_path *path = PATHS[kernel]; path->name; path++)
        if ((path->needs & ~machine) == 0 && number-- == 0)
            return path;
    return NULL;
}
