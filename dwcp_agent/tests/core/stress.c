/*
 * Many threads push and pop until every item went through, then every item is counted.
 *
 *     stress SHAPE PRODUCERS CONSUMERS ITEMS CAPACITY BATCH
 *
 * Prints one JSON object; exits 1 when an item was lost, doubled or, where order is promised, overtaken by a later one of its producer.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sync.h"

enum { MAX_THREADS = 64, MAX_BATCH = 256 };

static dwcp_channel channel;
static size_t items, producers, consumers, batch;
static _Atomic uint8_t *seen;
static _Atomic size_t popped, overtaken, doubled, failed_exchanges, sleeps;

static void count_contention(void)
{
    atomic_fetch_add(&failed_exchanges, dwcp_contention_here.failed_exchanges);
    atomic_fetch_add(&sleeps, dwcp_contention_here.sleeps);
}

/* Producer p pushes p, p + producers, p + 2 producers, ... */
static void *produce(void *argument)
{
    const size_t self = (size_t)(uintptr_t)argument;
    for (size_t next = self; next < items;) {
        void *some[MAX_BATCH];
        size_t n = 0;
        for (; n < batch && next + n * producers < items; n++)
            some[n] = (void *)(uintptr_t)(next + n * producers);
        for (size_t done = 0; done < n;) {
            const size_t pushed = dwcp_channel_push(&channel, some + done, n - done);
            done += pushed;
            if (pushed == 0)
                dwcp_channel_wait_room(&channel, -1);
        }
        next += n * producers;
    }
    count_contention();
    return NULL;
}

static void *consume(void *unused)
{
    (void)unused;
    size_t last[MAX_THREADS];
    memset(last, 0, sizeof last);
    for (;;) {
        void *some[MAX_BATCH];
        const bool over = dwcp_channel_closed(&channel);
        const size_t n = dwcp_channel_pop(&channel, some, batch);
        for (size_t i = 0; i < n; i++) {
            const size_t item = (size_t)(uintptr_t)some[i], from = item % producers;
            if (atomic_fetch_add_explicit(&seen[item], 1, memory_order_relaxed) != 0)
                atomic_fetch_add(&doubled, 1);
            if (channel.shape != DWCP_STACK && last[from] > item + 1)
                atomic_fetch_add(&overtaken, 1);
            last[from] = item + 1;
        }
        atomic_fetch_add_explicit(&popped, n, memory_order_relaxed);
        if (n == 0 && over)
            break;
        if (n == 0)
            dwcp_channel_wait_item(&channel, -1);
    }
    count_contention();
    return NULL;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A stack's top that was popped and pushed again is the same node, but must not be taken for the same top. */
static bool comes_back_with_another_tag(void)
{
    dwcp_stack stack;
    void *one = &stack, *two = &one, *out[2];
    if (dwcp_stack_init(&stack, 2) != 0)
        exit(2);
    dwcp_stack_push(&stack, &one, 1);
    dwcp_stack_push(&stack, &two, 1);
    const uint64_t before = atomic_load(&stack.top);
    const bool popped_both = dwcp_stack_pop(&stack, out, 2) == 2 && out[0] == two && out[1] == one;
    dwcp_stack_push(&stack, out, 2);
    const uint64_t after = atomic_load(&stack.top);
    dwcp_stack_free(&stack);
    return popped_both && (uint32_t)before == (uint32_t)after && before != after;
}

int main(int argc, char **argv)
{
    static const char *const NAMES[] = {[DWCP_QUEUE] = "queue", [DWCP_RING] = "ring", [DWCP_STACK] = "stack"};
    int shape = -1;
    for (int i = 0; argc == 7 && i < 3; i++)
        if (strcmp(argv[1], NAMES[i]) == 0)
            shape = i;
    if (shape < 0) {
        fprintf(stderr, "stress queue|ring|stack PRODUCERS CONSUMERS ITEMS CAPACITY BATCH\n");
        return 2;
    }
    producers = strtoul(argv[2], NULL, 10);
    consumers = strtoul(argv[3], NULL, 10);
    items = strtoul(argv[4], NULL, 10);
    batch = strtoul(argv[6], NULL, 10);
    if (producers < 1 || consumers < 1 || producers > MAX_THREADS || consumers > MAX_THREADS || batch < 1 || batch > MAX_BATCH) {
        fprintf(stderr, "from 1 to %d threads of each kind and to %d items a batch\n", MAX_THREADS, MAX_BATCH);
        return 2;
    }
    if (!comes_back_with_another_tag()) {
        fprintf(stderr, "a stack's top came back and looked as if it had never been away\n");
        return 1;
    }
    seen = calloc(items, sizeof *seen);
    if (!seen || dwcp_channel_init(&channel, (dwcp_shape)shape, strtoul(argv[5], NULL, 10)) != 0)
        return 2;
    pthread_t threads[2 * MAX_THREADS];
    const double began = now_s();
    for (size_t i = 0; i < consumers; i++)
        if (pthread_create(&threads[producers + i], NULL, consume, NULL) != 0)
            return 2;
    for (size_t i = 0; i < producers; i++)
        if (pthread_create(&threads[i], NULL, produce, (void *)(uintptr_t)i) != 0)
            return 2;
    for (size_t i = 0; i < producers; i++)
        pthread_join(threads[i], NULL);
    dwcp_channel_close(&channel);
    for (size_t i = 0; i < consumers; i++)
        pthread_join(threads[producers + i], NULL);
    const double seconds = now_s() - began;

    size_t lost = 0;
    for (size_t i = 0; i < items; i++)
        lost += seen[i] == 0;
    const size_t left = dwcp_channel_length(&channel);
    dwcp_channel_free(&channel);
    free((void *)seen);
    printf("{\"items\": %zu, \"popped\": %zu, \"lost\": %zu, \"doubled\": %zu, \"overtaken\": %zu, \"left\": %zu, \"seconds\": %.6f, "
           "\"failed_exchanges\": %zu, \"sleeps\": %zu}\n",
           items, (size_t)popped, lost, (size_t)doubled, (size_t)overtaken, left, seconds, (size_t)failed_exchanges, (size_t)sleeps);
    return lost || doubled || overtaken || left || popped != items;
}
