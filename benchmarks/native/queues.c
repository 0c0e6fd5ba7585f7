/*
 * One way to hand items between threads, timed: `queues KIND PRODUCERS CONSUMERS ITEMS BATCH`.
 *
 * KIND is queue, ring or stack (threads that find nothing try again), queue-wait (they sleep), ring-free (threads are not pinned), or mutex:
 * a ring under a pthread mutex with two condition variables, the peer. Every item is counted. Prints one JSON object: seconds, how often a thread met another (failed
 * exchanges, or a mutex that was taken) and how often one had to wait, whether it slept or only gave the processor away.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sync.h"

enum { CAPACITY = 4096, MAX_THREADS = 64, MAX_BATCH = 256 };

static size_t producers, consumers, items, batch;
static dwcp_channel channel;
static bool pinned;
static _Atomic size_t meetings, waited;
static pthread_barrier_t start;

/* ---- the peer ---- */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t pushed, popped;
    void *slots[CAPACITY];
    size_t head, tail;
    bool closed;
} plain = {.lock = PTHREAD_MUTEX_INITIALIZER, .pushed = PTHREAD_COND_INITIALIZER, .popped = PTHREAD_COND_INITIALIZER};

static _Thread_local size_t met_here, waited_here;

static void plain_lock(void)
{
    if (pthread_mutex_trylock(&plain.lock) == 0)
        return;
    met_here++;
    pthread_mutex_lock(&plain.lock);
}

static size_t plain_push(void *const *some, size_t n)
{
    plain_lock();
    while (plain.tail - plain.head == CAPACITY) {
        waited_here++;
        pthread_cond_wait(&plain.popped, &plain.lock);
    }
    size_t done = 0;
    while (done < n && plain.tail - plain.head < CAPACITY)
        plain.slots[plain.tail++ % CAPACITY] = some[done++];
    pthread_mutex_unlock(&plain.lock);
    pthread_cond_signal(&plain.pushed);
    return done;
}

static size_t plain_pop(void **some, size_t n)
{
    plain_lock();
    while (plain.tail == plain.head && !plain.closed) {
        waited_here++;
        pthread_cond_wait(&plain.pushed, &plain.lock);
    }
    size_t done = 0;
    while (done < n && plain.tail != plain.head)
        some[done++] = plain.slots[plain.head++ % CAPACITY];
    pthread_mutex_unlock(&plain.lock);
    pthread_cond_signal(&plain.popped);
    return done;
}

/* ---- the threads ---- */
static void pin(size_t number)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(number % (size_t)sysconf(_SC_NPROCESSORS_ONLN), &set);
    if (pinned)
        sched_setaffinity(0, sizeof set, &set);
}

/* How items are handed over. */
typedef enum { BY_QUEUE, BY_RING, BY_STACK, BY_WAITING, BY_MUTEX } way;
static way chosen;

/* Inlined, so that what is measured is the queue and not the choice between them. */
#define INLINED static inline __attribute__((always_inline))

INLINED size_t push(way by, void *const *some, size_t n)
{
    switch (by) {
    case BY_MUTEX:
        return plain_push(some, n);
    case BY_WAITING:
        return dwcp_channel_push(&channel, some, n);
    case BY_RING:
        return dwcp_ring_push(&channel.of.ring, some, n);
    case BY_STACK:
        return dwcp_stack_push(&channel.of.stack, some, n);
    default:
        return dwcp_mpmc_push(&channel.of.queue, some, n);
    }
}

INLINED size_t pop(way by, void **some, size_t n)
{
    switch (by) {
    case BY_MUTEX:
        return plain_pop(some, n);
    case BY_WAITING:
        return dwcp_channel_pop(&channel, some, n);
    case BY_RING:
        return dwcp_ring_pop(&channel.of.ring, some, n);
    case BY_STACK:
        return dwcp_stack_pop(&channel.of.stack, some, n);
    default:
        return dwcp_mpmc_pop(&channel.of.queue, some, n);
    }
}

static void count(void)
{
    atomic_fetch_add(&meetings, dwcp_contention_here.failed_exchanges + met_here);
    atomic_fetch_add(&waited, dwcp_contention_here.waits + waited_here);
}

/* What a thread does that found no room, or nothing. */
INLINED void nothing_done(way by, bool (*wait)(dwcp_channel *, int64_t))
{
    if (by == BY_WAITING)
        wait(&channel, -1);
    else if (producers + consumers > 2)
        sched_yield();
    else
        dwcp_look_later();
}

INLINED void produce_by(way by, size_t from, size_t to, size_t most)
{
    for (size_t next = from; next < to;) {
        void *some[MAX_BATCH];
        size_t n = most == 1 || most < to - next ? most : to - next;
        for (size_t i = 0; i < n; i++)
            some[i] = (void *)(uintptr_t)(next + i + 1);
        for (size_t done = 0; done < n;) {
            const size_t pushed = most == 1 ? push(by, some, 1) : push(by, some + done, n - done);
            done += pushed;
            if (pushed == 0)
                nothing_done(by, dwcp_channel_wait_room);
        }
        next += n;
    }
}

/* Producer p pushes its share of 1..items; the sum of all is known. */
static void *produce(void *argument)
{
    const size_t self = (size_t)(uintptr_t)argument;
    const size_t from = items / producers * self, to = self + 1 == producers ? items : items / producers * (self + 1);
    pin(self);
    pthread_barrier_wait(&start);
    if (chosen == BY_RING && batch == 1)
        produce_by(BY_RING, from, to, 1);
    else if (chosen == BY_QUEUE && batch == 1)
        produce_by(BY_QUEUE, from, to, 1);
    else
        produce_by(chosen, from, to, batch);
    count();
    return NULL;
}

static _Atomic size_t taken, total;
static _Atomic bool over;

INLINED void consume_by(way by, size_t most)
{
    size_t mine = 0, sum = 0;
    for (;;) {
        void *some[MAX_BATCH];
        size_t n = pop(by, some, most);
        if (n == 0) {
            const bool last = atomic_load_explicit(&over, memory_order_acquire);
            n = last ? pop(by, some, most) : 0;
            if (n == 0 && last)
                break;
            if (n == 0)
                nothing_done(by, dwcp_channel_wait_item);
        }
        for (size_t i = 0; i < n; i++)
            sum += (size_t)(uintptr_t)some[i];
        mine += n;
    }
    atomic_fetch_add(&taken, mine);
    atomic_fetch_add(&total, sum);
}

static void *consume(void *argument)
{
    pin(producers + (size_t)(uintptr_t)argument);
    pthread_barrier_wait(&start);
    if (chosen == BY_RING && batch == 1)
        consume_by(BY_RING, 1);
    else if (chosen == BY_QUEUE && batch == 1)
        consume_by(BY_QUEUE, 1);
    else
        consume_by(chosen, batch);
    count();
    return NULL;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        dwcp_shape shape;
        way by;
        bool free;
    } KINDS[] = {
        {"queue", DWCP_QUEUE, BY_QUEUE, false},        {"ring", DWCP_RING, BY_RING, false},  {"ring-free", DWCP_RING, BY_RING, true},
        {"queue-wait", DWCP_QUEUE, BY_WAITING, false}, {"stack", DWCP_STACK, BY_STACK, false}, {"mutex", DWCP_QUEUE, BY_MUTEX, false},
    };
    int kind = -1;
    for (size_t i = 0; argc == 6 && i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(argv[1], KINDS[i].name) == 0)
            kind = (int)i;
    if (kind < 0) {
        fprintf(stderr, "queues queue|ring|stack|queue-wait|ring-free|mutex PRODUCERS CONSUMERS ITEMS BATCH\n");
        return 2;
    }
    producers = strtoul(argv[2], NULL, 10);
    consumers = strtoul(argv[3], NULL, 10);
    items = strtoul(argv[4], NULL, 10);
    batch = strtoul(argv[5], NULL, 10);
    chosen = KINDS[kind].by;
    pinned = producers + consumers == 2 && !KINDS[kind].free;
    if (producers < 1 || consumers < 1 || producers > MAX_THREADS || consumers > MAX_THREADS || batch < 1 || batch > MAX_BATCH)
        return 2;
    if (dwcp_channel_init(&channel, KINDS[kind].shape, CAPACITY) != 0)
        return 2;
    pthread_barrier_init(&start, NULL, (unsigned)(producers + consumers + 1));
    pthread_t threads[2 * MAX_THREADS];
    for (size_t i = 0; i < producers; i++)
        pthread_create(&threads[i], NULL, produce, (void *)(uintptr_t)i);
    for (size_t i = 0; i < consumers; i++)
        pthread_create(&threads[producers + i], NULL, consume, (void *)(uintptr_t)i);
    pthread_barrier_wait(&start);
    const double began = now_s();
    for (size_t i = 0; i < producers; i++)
        pthread_join(threads[i], NULL);
    atomic_store_explicit(&over, true, memory_order_release);
    dwcp_channel_close(&channel);
    pthread_mutex_lock(&plain.lock);
    plain.closed = true;
    pthread_mutex_unlock(&plain.lock);
    pthread_cond_broadcast(&plain.pushed);
    for (size_t i = 0; i < consumers; i++)
        pthread_join(threads[producers + i], NULL);
    const double seconds = now_s() - began;
    printf("{\"seconds\": %.6f, \"meetings\": %zu, \"waited\": %zu, \"taken\": %zu}\n", seconds, (size_t)meetings, (size_t)waited,
           (size_t)taken);
    return taken != items || total != items * (items + 1) / 2;
}
