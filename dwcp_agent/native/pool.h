/*
 * Buffers that are used over and over: size classes, a cache for each thread, a shared store behind them. One pool a process. What is given
 * back keeps its pages until dwcp_pool_trim, or until more lies idle than is good; its place is never unmapped.
 */
#ifndef DWCP_POOL_H
#define DWCP_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DWCP_POOL_LEAST = 4 << 10, /* bytes of the smallest class */
    DWCP_POOL_MOST = 4 << 20,  /* of the largest; what is larger is mapped for itself */
};

typedef struct {
    void *data;
    size_t size;     /* usable bytes, not below what was asked */
    size_t asked;    /* bytes that were asked for */
    int number;      /* of the class; -1 when mapped for itself */
} dwcp_buffer;

typedef struct {
    uint64_t from_thread;   /* takes answered by the thread's own cache */
    uint64_t from_shared;   /* by what other threads gave back */
    uint64_t from_fresh;    /* by memory never used before */
    uint64_t oversize;      /* mapped for themselves */
    uint64_t given;         /* buffers that came back */
    size_t live_asked;      /* bytes asked for by those that are out */
    size_t live;            /* bytes of those that are out */
    size_t mapped;          /* bytes of address space */
    size_t resident;        /* bytes of it that have pages, as the kernel says now */
    bool huge;              /* huge pages were asked for and not refused */
} dwcp_pool_statistics;

/* Fills `out` with a buffer of at least `size` bytes and undefined content, aligned to 64. 0, EINVAL (size 0 or above 2^40) or ENOMEM. */
int dwcp_pool_take(size_t size, dwcp_buffer *out);
/* Nobody reads or writes it any more; any thread may give. */
void dwcp_pool_give(const dwcp_buffer *buffer);
/* Makes `count` buffers of `size` ready, their pages touched, for whichever thread comes. 0 or an errno. */
int dwcp_pool_warm(size_t size, size_t count);
/* Puts what lies in the calling thread's cache where any thread finds it: before that thread rests. */
void dwcp_pool_flush(void);
/*
 * Flushes, and returns the pages of what lies in the shared store to the kernel, but for those of `keep` buffers of each size; says how many
 * bytes.
 */
size_t dwcp_pool_trim(size_t keep);
/*
 * From now on what is given back is filled with 0xDB and looked at when it is taken: who wrote to it meanwhile has a bug, and the process
 * ends. EBUSY when the pool was used before.
 */
int dwcp_pool_poison(void);
void dwcp_pool_measure(dwcp_pool_statistics *out);
/* The size of the buffer that a request for `size` gets. */
size_t dwcp_pool_rounded(size_t size);

#endif
