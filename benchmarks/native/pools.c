/*
 * Buffers taken, touched and given back by threads: `pools pool|malloc THREADS OPERATIONS`.
 *
 * Sizes from 64 KiB to 4 MiB, evenly spread over the doublings; each thread holds up to eight and touches a byte of (nearly) every page. Another
 * allocator is measured by LD_PRELOAD. Prints operations per second.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool.h"

enum { HELD = 8, MAX_THREADS = 64 };

static bool pooled;
static size_t operations;
static pthread_barrier_t start;

static void *work(void *argument)
{
    uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)argument * 7919;
    dwcp_buffer held[HELD];
    memset(held, 0, sizeof held);
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < operations; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        dwcp_buffer *slot = &held[state % HELD];
        if (slot->data && pooled)
            dwcp_pool_give(slot);
        else if (slot->data)
            free(slot->data);
        const size_t least = (size_t)65536 << (state >> 8) % 6;
        const size_t size = least + (state >> 20) % least;
        if (pooled && dwcp_pool_take(size, slot) != 0)
            exit(2);
        if (!pooled && !(slot->data = malloc(size)))
            exit(2);
        /* Not always the first line of a page: those of a huge page are rivals for the same few places of the caches. */
        for (size_t at = 0; at < size; at += 4096 + 64)
            ((volatile char *)slot->data)[at] = 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4 || (strcmp(argv[1], "pool") != 0 && strcmp(argv[1], "malloc") != 0)) {
        fprintf(stderr, "pools pool|malloc THREADS OPERATIONS\n");
        return 2;
    }
    pooled = strcmp(argv[1], "pool") == 0;
    const size_t threads = strtoul(argv[2], NULL, 10);
    operations = strtoul(argv[3], NULL, 10);
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    pthread_t running[MAX_THREADS];
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&running[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0)
            return 2;
    struct timespec began, ended;
    pthread_barrier_wait(&start);
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (size_t i = 0; i < threads; i++)
        pthread_join(running[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    const double seconds = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    printf("%.0f\n", (double)(operations * threads) / seconds);
    return 0;
}
