/*
 * Handing items between threads: a bounded queue for many producers and many consumers, a ring for one of each, a bounded stack, and
 * waiting for any of them. Items are pointers; NULL is one like any other. Hot paths are inline. No Python in here.
 */
#ifndef DWCP_SYNC_H
#define DWCP_SYNC_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two lines: the prefetcher of x86 fetches them in pairs. */
enum { DWCP_APART = 128 };

/* What this thread met since it began: exchanges that another thread's made fail, waits, and those of them in which it slept. */
typedef struct {
    uint64_t failed_exchanges;
    uint64_t waits;
    uint64_t sleeps;
} dwcp_contention;

extern _Thread_local dwcp_contention dwcp_contention_here;

/* Tells the processor that this thread waits for another's line: it runs slower, and takes less from its neighbours. */
static inline void dwcp_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* What serves two threads best of which this one has found nothing to do: looking again at once takes the line from the one that writes it. */
static inline void dwcp_look_later(void)
{
    for (int i = 0; i < 128; i++)
        dwcp_relax();
}

/* ---- ring.c: one producer, one consumer ---- */
typedef struct {
    void **slots;
    size_t capacity; /* a power of two */
    alignas(DWCP_APART) _Atomic size_t head; /* next to pop; written by the consumer */
    size_t tail_seen;                        /* the consumer's */
    alignas(DWCP_APART) _Atomic size_t tail; /* next to push; written by the producer */
    size_t head_seen;                        /* the producer's */
} dwcp_ring;

/* 0, EINVAL (capacity 0 or above 2^30) or ENOMEM; capacity is rounded up to a power of two. */
int dwcp_ring_init(dwcp_ring *ring, size_t capacity);
void dwcp_ring_free(dwcp_ring *ring);
size_t dwcp_ring_length(dwcp_ring *ring);

/* Pushes the first of `items` that fit; returns how many. */
static inline size_t dwcp_ring_push(dwcp_ring *ring, void *const *items, size_t count)
{
    const size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (ring->capacity - (tail - ring->head_seen) < count)
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
    const size_t free = ring->capacity - (tail - ring->head_seen);
    if (count > free)
        count = free;
    for (size_t i = 0; i < count; i++)
        ring->slots[(tail + i) & (ring->capacity - 1)] = items[i];
    if (count)
        atomic_store_explicit(&ring->tail, tail + count, memory_order_release);
    return count;
}

/* Pops up to `room` items; returns how many. */
static inline size_t dwcp_ring_pop(dwcp_ring *ring, void **items, size_t room)
{
    const size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (ring->tail_seen - head < room)
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    const size_t there = ring->tail_seen - head;
    if (room > there)
        room = there;
    for (size_t i = 0; i < room; i++)
        items[i] = ring->slots[(head + i) & (ring->capacity - 1)];
    if (room)
        atomic_store_explicit(&ring->head, head + room, memory_order_release);
    return room;
}

/* ---- mpmc.c: many producers, many consumers (after Vyukov's bounded queue) ---- */
/*
 * A cell's turn is the position it waits for: `p` while it is free for the item at position p, `p + 1` while it holds it, `p + capacity`
 * when that was taken. Who moves `tail` or `head` over positions owns their cells alone; a thread that dies between the two holds up those
 * that come a whole round later, and nobody before.
 */
typedef struct {
    _Atomic size_t turn;
    void *item;
} dwcp_cell;

typedef struct {
    dwcp_cell *cells;
    size_t capacity; /* a power of two */
    alignas(DWCP_APART) _Atomic size_t head;
    alignas(DWCP_APART) _Atomic size_t tail;
} dwcp_mpmc;

int dwcp_mpmc_init(dwcp_mpmc *queue, size_t capacity);
void dwcp_mpmc_free(dwcp_mpmc *queue);
size_t dwcp_mpmc_length(dwcp_mpmc *queue);

/* Cells from `position` on whose turn is theirs plus `phase`, at most `most`. */
static inline size_t dwcp_mpmc_ready(dwcp_mpmc *queue, size_t position, size_t phase, size_t most)
{
    size_t ready = 0;
    while (ready < most) {
        const dwcp_cell *cell = &queue->cells[(position + ready) & (queue->capacity - 1)];
        if (atomic_load_explicit(&cell->turn, memory_order_acquire) != position + ready + phase)
            break;
        ready++;
    }
    return ready;
}

/* Takes up to `most` positions whose cells are in `phase`, from `*end` on; returns how many and where they begin. */
static inline size_t dwcp_mpmc_claim(dwcp_mpmc *queue, _Atomic size_t *end, size_t phase, size_t most, size_t *begin)
{
    size_t position = atomic_load_explicit(end, memory_order_relaxed);
    for (unsigned pauses = 64;;) {
        const size_t ready = dwcp_mpmc_ready(queue, position, phase, most);
        if (ready == 0) {
            /* Full or empty, unless others have moved on meanwhile. */
            const size_t now = atomic_load_explicit(end, memory_order_relaxed);
            if (now == position || most == 0)
                return 0;
            position = now;
        } else if (atomic_compare_exchange_weak_explicit(end, &position, position + ready, memory_order_relaxed, memory_order_relaxed)) {
            *begin = position;
            return ready;
        } else {
            /* Whoever won goes on at once; trying again at once would only take the line from it. */
            dwcp_contention_here.failed_exchanges++;
            for (unsigned i = 0; i < pauses; i++)
                dwcp_relax();
            pauses = pauses < 1024 ? 2 * pauses : pauses;
            position = atomic_load_explicit(end, memory_order_relaxed);
        }
    }
}

/* Pushes the first of `items` that fit; returns how many. They follow each other in the queue. */
static inline size_t dwcp_mpmc_push(dwcp_mpmc *queue, void *const *items, size_t count)
{
    size_t begin;
    const size_t claimed = dwcp_mpmc_claim(queue, &queue->tail, 0, count, &begin);
    for (size_t i = 0; i < claimed; i++) {
        dwcp_cell *cell = &queue->cells[(begin + i) & (queue->capacity - 1)];
        cell->item = items[i];
        atomic_store_explicit(&cell->turn, begin + i + 1, memory_order_release);
    }
    return claimed;
}

/* Pops up to `room` items; returns how many. */
static inline size_t dwcp_mpmc_pop(dwcp_mpmc *queue, void **items, size_t room)
{
    size_t begin;
    const size_t claimed = dwcp_mpmc_claim(queue, &queue->head, 1, room, &begin);
    for (size_t i = 0; i < claimed; i++) {
        dwcp_cell *cell = &queue->cells[(begin + i) & (queue->capacity - 1)];
        items[i] = cell->item;
        atomic_store_explicit(&cell->turn, begin + i + queue->capacity, memory_order_release);
    }
    return claimed;
}

/* ---- stack.c: last in, first out (after Treiber) ---- */
/*
 * Nodes are numbered, and a head is a number with a tag that every exchange increments: a head that was taken away and came back is not
 * taken for the same (ABA), unless 2^32 exchanges happened between one thread's load and its exchange.
 */
typedef struct {
    void *item;
    _Atomic uint32_t below; /* number + 1 of the node below; 0 under the last */
} dwcp_node;

typedef struct {
    dwcp_node *nodes;
    uint32_t capacity;
    alignas(DWCP_APART) _Atomic uint64_t top;   /* tag << 32 | number + 1 */
    alignas(DWCP_APART) _Atomic uint64_t spare; /* nodes without an item */
    alignas(DWCP_APART) _Atomic size_t length;  /* of late; exact when nobody works */
} dwcp_stack;

int dwcp_stack_init(dwcp_stack *stack, size_t capacity);
void dwcp_stack_free(dwcp_stack *stack);
size_t dwcp_stack_length(dwcp_stack *stack);
/* Pushes the first of `items` that fit, as one; the last of them is on top. Returns how many. */
size_t dwcp_stack_push(dwcp_stack *stack, void *const *items, size_t count);
/* Pops up to `room` items as one, the top first; returns how many. */
size_t dwcp_stack_pop(dwcp_stack *stack, void **items, size_t room);

/* ---- channel.c: any of them, and waiting for it ---- */
typedef enum { DWCP_QUEUE, DWCP_RING, DWCP_STACK } dwcp_shape;

/* Wakes those that wait for something to have changed; costs a waiter nothing and a changer one exchange while nobody waits. */
typedef struct {
    alignas(DWCP_APART) _Atomic uint32_t waiters;
    _Atomic uint32_t epoch;
} dwcp_event;

typedef struct {
    dwcp_shape shape;
    union {
        dwcp_mpmc queue;
        dwcp_ring ring;
        dwcp_stack stack;
    } of;
    dwcp_event pushed, popped;
    alignas(DWCP_APART) _Atomic bool closed;
} dwcp_channel;

int dwcp_channel_init(dwcp_channel *channel, dwcp_shape shape, size_t capacity);
/* Nobody uses it any more. */
void dwcp_channel_free(dwcp_channel *channel);
size_t dwcp_channel_capacity(const dwcp_channel *channel);
size_t dwcp_channel_length(dwcp_channel *channel);
/* Without waiting: how many of `items` went in (0 when closed), or came out. Who waits for it is woken. */
size_t dwcp_channel_push(dwcp_channel *channel, void *const *items, size_t count);
size_t dwcp_channel_pop(dwcp_channel *channel, void **items, size_t room);
/* Nothing goes in any more; what is in comes out; everyone who waits is woken. */
void dwcp_channel_close(dwcp_channel *channel);
bool dwcp_channel_closed(const dwcp_channel *channel);
/* Threads that wait for it now. */
size_t dwcp_channel_waiting(dwcp_channel *channel);
/*
 * Waits until there is room to push, or something to pop, or the channel is closed, or `timeout_ns` have passed (negative: for ever), or a
 * signal came: look again. Returns false when the time is up.
 */
bool dwcp_channel_wait_room(dwcp_channel *channel, int64_t timeout_ns);
bool dwcp_channel_wait_item(dwcp_channel *channel, int64_t timeout_ns);

#endif
