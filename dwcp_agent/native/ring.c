/* One producer, one consumer: memory and length of the ring; the rest is inline. */
#include "sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capacity.h"

int dwcp_ring_init(dwcp_ring *ring, size_t capacity)
{
    memset(ring, 0, sizeof *ring);
    if (!dwcp_capacity_fits(capacity))
        return EINVAL;
    ring->capacity = dwcp_power_of_two(capacity);
    ring->slots = calloc(ring->capacity, sizeof *ring->slots);
    return ring->slots ? 0 : ENOMEM;
}

void dwcp_ring_free(dwcp_ring *ring)
{
    free(ring->slots);
    ring->slots = NULL;
}

size_t dwcp_ring_length(dwcp_ring *ring)
{
    /* The head first: it never overtakes the tail, which can only have grown since. */
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t length = atomic_load_explicit(&ring->tail, memory_order_acquire) - head;
    return length < ring->capacity ? length : ring->capacity;
}
