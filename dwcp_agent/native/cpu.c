/* Which instruction sets this processor and this kernel allow. */
#include "core.h"

dwcp_cpu dwcp_cpu_detect(void)
{
    dwcp_cpu cpu = {false, false, false, false};
#if DWCP_X86_VECTOR
    __builtin_cpu_init();
    cpu.sse42 = __builtin_cpu_supports("sse4.2") != 0;
    cpu.pclmul = __builtin_cpu_supports("pclmul") != 0;
    /* The builtin also asks whether the kernel saves the wide registers. */
    cpu.avx2 = __builtin_cpu_supports("avx2") != 0;
    cpu.vpclmul = __builtin_cpu_supports("vpclmulqdq") != 0;
#endif
    return cpu;
}
