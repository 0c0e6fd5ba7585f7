/* What lies behind the threads' caches of the pool: size classes, idle buffers that any thread may take, and memory. Not for others. */
#ifndef DWCP_POOL_STORE_H
#define DWCP_POOL_STORE_H

#include <stdbool.h>
#include <stddef.h>

enum {
    DWCP_POOL_CLASSES = 41, /* 4 KiB, 5, 6, 7, 8, 10, ... 4 MiB: a quarter of a doubling apart */
    DWCP_POOL_PAGE = 4096,
};

/* The class of buffers of at least `size` bytes, which is at most DWCP_POOL_MOST; and the size of a class's buffers. */
int dwcp_store_class(size_t size);
size_t dwcp_store_size(int number);

/* An idle buffer, or memory never used before (`*fresh`); NULL when there is none. */
void *dwcp_store_get(int number, bool *fresh);
/* Memory never used before; NULL when there is none. */
void *dwcp_store_fresh(int number);
void dwcp_store_put(int number, void *data);

/* Memory of its own for what is larger than any class; NULL when there is none. `size` is whole pages. */
void *dwcp_store_map(size_t size);
void dwcp_store_unmap(void *data);

/* Gives the pages of idle buffers back, all but those of `keep` buffers of each size; how many bytes. */
size_t dwcp_store_trim(size_t keep);
/* Address space, what of it has pages as the kernel says, and whether huge pages were never refused. */
void dwcp_store_measure(size_t *mapped, size_t *resident, bool *huge);

#endif
