/* Last in, first out, for many threads. */
#include "sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capacity.h"

static inline uint32_t number_of(uint64_t head)
{
    return (uint32_t)head;
}

static inline uint64_t with_next_tag(uint64_t head, uint32_t number)
{
    return ((head >> 32) + 1) << 32 | number;
}

int dwcp_stack_init(dwcp_stack *stack, size_t capacity)
{
    memset(stack, 0, sizeof *stack);
    if (!dwcp_capacity_fits(capacity))
        return EINVAL;
    stack->nodes = calloc(capacity, sizeof *stack->nodes);
    if (!stack->nodes)
        return ENOMEM;
    stack->capacity = (uint32_t)capacity;
    for (uint32_t i = 0; i < stack->capacity; i++)
        atomic_init(&stack->nodes[i].below, i + 1 < stack->capacity ? i + 2 : 0);
    atomic_init(&stack->top, 0);
    atomic_init(&stack->spare, 1);
    return 0;
}

void dwcp_stack_free(dwcp_stack *stack)
{
    free(stack->nodes);
    stack->nodes = NULL;
}

size_t dwcp_stack_length(dwcp_stack *stack)
{
    return atomic_load_explicit(&stack->length, memory_order_relaxed);
}

static inline uint32_t below(dwcp_stack *stack, uint32_t number)
{
    return atomic_load_explicit(&stack->nodes[number - 1].below, memory_order_relaxed);
}

/*
 * Takes up to `most` linked nodes off `head`; returns how many and the uppermost. What is read of a node that another thread has meanwhile
 * taken may be anything, but then the tag has changed and the exchange fails.
 */
static size_t take(dwcp_stack *stack, _Atomic uint64_t *head, size_t most, uint32_t *upper)
{
    uint64_t seen = atomic_load_explicit(head, memory_order_acquire);
    for (;;) {
        uint32_t next = number_of(seen);
        size_t taken = 0;
        while (taken < most && next != 0) {
            next = below(stack, next);
            taken++;
        }
        if (taken == 0)
            return 0;
        if (atomic_compare_exchange_weak_explicit(head, &seen, with_next_tag(seen, next), memory_order_acquire, memory_order_acquire)) {
            *upper = number_of(seen);
            return taken;
        }
        dwcp_contention_here.failed_exchanges++;
    }
}

/* Puts the linked nodes from `upper` down to `lower` on `head`. */
static void put(dwcp_stack *stack, _Atomic uint64_t *head, uint32_t upper, uint32_t lower)
{
    uint64_t seen = atomic_load_explicit(head, memory_order_relaxed);
    for (;;) {
        atomic_store_explicit(&stack->nodes[lower - 1].below, number_of(seen), memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(head, &seen, with_next_tag(seen, upper), memory_order_release, memory_order_relaxed))
            return;
        dwcp_contention_here.failed_exchanges++;
    }
}

size_t dwcp_stack_push(dwcp_stack *stack, void *const *items, size_t count)
{
    uint32_t upper;
    const size_t taken = take(stack, &stack->spare, count, &upper);
    if (taken == 0)
        return 0;
    uint32_t lower = upper;
    for (size_t i = taken; i-- > 0; lower = i ? below(stack, lower) : lower)
        stack->nodes[lower - 1].item = items[i];
    /* Counted before they are there and until after they are gone, so that the length never falls below none. */
    atomic_fetch_add_explicit(&stack->length, taken, memory_order_relaxed);
    put(stack, &stack->top, upper, lower);
    return taken;
}

size_t dwcp_stack_pop(dwcp_stack *stack, void **items, size_t room)
{
    uint32_t upper;
    const size_t taken = take(stack, &stack->top, room, &upper);
    if (taken == 0)
        return 0;
    uint32_t lower = upper;
    for (size_t i = 0; i < taken; lower = ++i < taken ? below(stack, lower) : lower)
        items[i] = stack->nodes[lower - 1].item;
    put(stack, &stack->spare, upper, lower);
    atomic_fetch_sub_explicit(&stack->length, taken, memory_order_relaxed);
    return taken;
}
