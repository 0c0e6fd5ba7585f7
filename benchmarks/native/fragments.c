/*
 * What memory an allocator holds beside what is in use, under a load whose sizes move: `fragments pool|malloc SECONDS`.
 *
 * Two threads hold up to 64 buffers each and replace one at random some five hundred times a second. Sizes are spread over three doublings,
 * which move through 8 KiB to 4 MiB and back every two minutes: what was right a minute ago is not what is asked for now. Every buffer is
 * written to. Another allocator is measured by LD_PRELOAD. Prints one JSON object: the ratio of bytes resident, beside the program's own, to
 * bytes in use, on average and at its worst, after the first two seconds. Without huge pages for anyone: of one that is dropped in part the
 * kernel says that it is gone, and keeps it until it needs memory.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

enum { THREADS = 2, HELD = 64, A_TURN = 10 };

static bool pooled;
static double seconds;
static _Atomic size_t live;
static _Atomic bool over;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t resident(void)
{
    size_t whole = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu %zu", &whole, &pages) != 2)
        exit(2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void give(dwcp_buffer *slot)
{
    if (!slot->data)
        return;
    live -= slot->asked;
    if (pooled)
        dwcp_pool_give(slot);
    else
        free(slot->data);
    slot->data = NULL;
}

static void take(dwcp_buffer *slot, size_t size)
{
    if (pooled && dwcp_pool_take(size, slot) != 0)
        exit(2);
    if (!pooled && !(slot->data = malloc(size)))
        exit(2);
    slot->asked = size;
    live += size;
    memset(slot->data, 1, size);
}

static void *work(void *argument)
{
    static dwcp_buffer held[THREADS][HELD];
    uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)argument * 7919;
    dwcp_buffer *mine = held[(uintptr_t)argument];
    const double began = now_s();
    while (!over) {
        const double least = 13 + 6 * fabs(fmod((now_s() - began) / 60, 2) - 1); /* 8 KiB to 512 KiB */
        for (int i = 0; i < A_TURN; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            dwcp_buffer *slot = &mine[state % HELD];
            give(slot);
            take(slot, (size_t)exp2(least + 3 * (double)(state >> 32 & 0xFFFF) / 65536));
        }
        usleep(20000);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "pool") != 0 && strcmp(argv[1], "malloc") != 0) || (seconds = atof(argv[2])) <= 2) {
        fprintf(stderr, "fragments pool|malloc SECONDS\n");
        return 2;
    }
    pooled = strcmp(argv[1], "pool") == 0;
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
        return 2;
    const size_t own = resident();
    pthread_t threads[THREADS];
    const double end = now_s() + seconds;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            return 2;
    double sum = 0, worst = 0;
    size_t looks = 0;
    while (now_s() < end) {
        usleep(200000);
        if (end - now_s() > seconds - 2)
            continue;
        const double ratio = (double)(resident() - own) / (double)live;
        worst = ratio > worst ? ratio : worst;
        sum += ratio;
        looks++;
    }
    over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("{\"mean\": %.4f, \"worst\": %.4f}\n", sum / (double)looks, worst);
    return 0;
}
