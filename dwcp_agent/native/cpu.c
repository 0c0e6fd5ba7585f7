/* Which instruction sets this processor and this kernel allow. */
#include "core.h"

#if DWCP_ARM_VECTOR
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

const dwcp_instruction_set DWCP_INSTRUCTION_SETS[] = {
    {"sse42", DWCP_SSE42},     {"pclmul", DWCP_PCLMUL}, {"avx2", DWCP_AVX2}, {"vpclmul", DWCP_VPCLMUL},
    {"avx512", DWCP_AVX512},   {"armcrc", DWCP_ARMCRC}, {NULL, 0},
};

unsigned dwcp_cpu_detect(void)
{
    unsigned found = 0;
#if DWCP_X86_VECTOR
    __builtin_cpu_init();
    found |= __builtin_cpu_supports("sse4.2") ? DWCP_SSE42 : 0;
    found |= __builtin_cpu_supports("pclmul") ? DWCP_PCLMUL : 0;
    /* For the wide sets the builtin also asks whether the kernel saves the registers. */
    found |= __builtin_cpu_supports("avx2") ? DWCP_AVX2 : 0;
    found |= __builtin_cpu_supports("vpclmulqdq") ? DWCP_VPCLMUL : 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        found |= DWCP_AVX512;
    /* Zen 4; Zen 5 and Intel's multiply 512 bits at once. */
    found |= (found & DWCP_AVX512) && __builtin_cpu_is("amdfam19h") ? DWCP_HALVED : 0;
#endif
#if DWCP_ARM_VECTOR
    found |= (getauxval(AT_HWCAP) & HWCAP_CRC32) ? DWCP_ARMCRC : 0;
#endif
    return found;
}
