/* Pinning one thread. */
#define _GNU_SOURCE
#include "core.h"

#include <errno.h>
#include <sched.h>

int dwcp_pin_thread(const int *cpus, size_t count)
{
    int highest = 0;
    for (size_t i = 0; i < count; i++)
        if (cpus[i] > highest)
            highest = cpus[i];
    cpu_set_t *set = CPU_ALLOC((size_t)highest + 1);
    if (!set)
        return ENOMEM;
    size_t size = CPU_ALLOC_SIZE((size_t)highest + 1);
    CPU_ZERO_S(size, set);
    for (size_t i = 0; i < count; i++)
        CPU_SET_S((size_t)cpus[i], size, set);
    /* Thread 0 is the caller; glibc's wrapper would take the same road. */
    int result = sched_setaffinity(0, size, set) == 0 ? 0 : errno;
    CPU_FREE(set);
    return result;
}
