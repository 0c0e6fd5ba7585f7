/* The one place that decides which path of each kernel runs. */
#include "core.h"

static dwcp_choice current;

/* Weakest first; a path stands on all instruction sets below it, so disabling one takes those above with it. */
static size_t crc_paths(unsigned disabled, dwcp_crc_path out[DWCP_MAX_PATHS])
{
    size_t count = 0;
    out[count++] = (dwcp_crc_path){"scalar", dwcp_crc_scalar};
#if DWCP_X86_VECTOR
    const dwcp_cpu cpu = dwcp_cpu_detect();
    if (!cpu.sse42 || (disabled & DWCP_NO_SSE42))
        return count;
    out[count++] = (dwcp_crc_path){"sse42", dwcp_crc_sse42};
    if (!cpu.pclmul || (disabled & DWCP_NO_PCLMUL))
        return count;
    out[count++] = (dwcp_crc_path){"pclmul", dwcp_crc_pclmul};
    if (!cpu.avx2 || !cpu.vpclmul || (disabled & DWCP_NO_AVX2))
        return count;
    out[count++] = (dwcp_crc_path){"avx2", dwcp_crc_avx2};
#else
    (void)disabled;
#endif
    return count;
}

static size_t zero_paths(unsigned disabled, dwcp_zero_path out[DWCP_MAX_PATHS])
{
    size_t count = 0;
    out[count++] = (dwcp_zero_path){"scalar", dwcp_zero_scalar};
#if DWCP_X86_VECTOR
    if (dwcp_cpu_detect().avx2 && !(disabled & DWCP_NO_AVX2))
        out[count++] = (dwcp_zero_path){"avx2", dwcp_zero_avx2};
#else
    (void)disabled;
#endif
    return count;
}

void dwcp_dispatch_init(void)
{
    dwcp_crc_tables_init();
#if DWCP_X86_VECTOR
    dwcp_crc_sse42_init();
    dwcp_crc_clmul_init();
#endif
    dwcp_dispatch_select(0);
}

void dwcp_dispatch_select(unsigned disabled)
{
    dwcp_crc_path crc[DWCP_MAX_PATHS];
    dwcp_zero_path zero[DWCP_MAX_PATHS];
    current.crc = crc[crc_paths(disabled, crc) - 1];
    current.zero = zero[zero_paths(disabled, zero) - 1];
}

const dwcp_choice *dwcp_dispatch_current(void)
{
    return &current;
}

size_t dwcp_dispatch_crc_paths(dwcp_crc_path out[DWCP_MAX_PATHS])
{
    return crc_paths(0, out);
}

size_t dwcp_dispatch_zero_paths(dwcp_zero_path out[DWCP_MAX_PATHS])
{
    return zero_paths(0, out);
}
