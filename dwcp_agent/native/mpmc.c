/* Many producers, many consumers: memory and length of the queue; the rest is inline. */
#include "sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capacity.h"

_Thread_local dwcp_contention dwcp_contention_here;

int dwcp_mpmc_init(dwcp_mpmc *queue, size_t capacity)
{
    memset(queue, 0, sizeof *queue);
    if (!dwcp_capacity_fits(capacity))
        return EINVAL;
    /* With one cell "full" and "free a round later" would be the same turn. */
    queue->capacity = dwcp_power_of_two(capacity < 2 ? 2 : capacity);
    queue->cells = aligned_alloc(DWCP_APART, (queue->capacity * sizeof *queue->cells + DWCP_APART - 1) / DWCP_APART * DWCP_APART);
    if (!queue->cells)
        return ENOMEM;
    for (size_t i = 0; i < queue->capacity; i++) {
        atomic_init(&queue->cells[i].turn, i);
        queue->cells[i].item = NULL;
    }
    return 0;
}

void dwcp_mpmc_free(dwcp_mpmc *queue)
{
    free(queue->cells);
    queue->cells = NULL;
}

size_t dwcp_mpmc_length(dwcp_mpmc *queue)
{
    size_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    size_t length = atomic_load_explicit(&queue->tail, memory_order_acquire) - head;
    return length < queue->capacity ? length : queue->capacity;
}
