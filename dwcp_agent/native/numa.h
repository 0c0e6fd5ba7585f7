/* On which NUMA node memory is taken, by system calls alone: hosts need no libnuma. */
#ifndef DWCP_NUMA_H
#define DWCP_NUMA_H

#include <stddef.h>

enum { DWCP_MAX_NODES = 1024 };

/* The calling thread's new pages come from `node` while it has room; -1: from where it runs. 0 or an errno (EPERM in some containers). */
int dwcp_numa_prefer(int node);
/* The pages of [data, data + length) that are touched from now on come from `node` while it has room. 0 or an errno. */
int dwcp_numa_place(void *data, size_t length, int node);
/* The node of the page at `data`, which must have been touched, into `node`. 0 or an errno. */
int dwcp_numa_node_of(const void *data, int *node);

#endif
