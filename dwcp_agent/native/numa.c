/* NUMA memory policy, by system calls. */
#define _GNU_SOURCE
#include "numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <limits.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORD = sizeof(unsigned long) * CHAR_BIT, WORDS = DWCP_MAX_NODES / (sizeof(unsigned long) * CHAR_BIT) };

int dwcp_numa_prefer(int node)
{
    unsigned long mask[WORDS] = {0};
    if (node >= DWCP_MAX_NODES)
        return EINVAL;
    if (node < 0)
        return syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0) == 0 ? 0 : errno;
    mask[node / WORD] = 1ul << (node % WORD);
    /* The kernel takes the number of bits plus one. */
    return syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask, DWCP_MAX_NODES + 1) == 0 ? 0 : errno;
}

int dwcp_numa_place(void *data, size_t length, int node)
{
    unsigned long mask[WORDS] = {0};
    if (node < 0 || node >= DWCP_MAX_NODES)
        return EINVAL;
    mask[node / WORD] = 1ul << (node % WORD);
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = ((uintptr_t)data + page - 1) / page * page, to = ((uintptr_t)data + length) / page * page;
    if (to <= from)
        return 0; /* no whole page in it */
    return syscall(SYS_mbind, from, to - from, MPOL_PREFERRED, mask, DWCP_MAX_NODES + 1, 0) == 0 ? 0 : errno;
}

int dwcp_numa_node_of(const void *data, int *node)
{
    return syscall(SYS_get_mempolicy, node, NULL, 0, data, MPOL_F_NODE | MPOL_F_ADDR) == 0 ? 0 : errno;
}
