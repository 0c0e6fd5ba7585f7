/*
 * Threads take buffers, fill them, hand half of them to one another, and look whether anybody else wrote to them.
 *
 *     pool THREADS ROUNDS poison|plain
 *
 * Then what must hold of sizes, statistics, trimming and poison. Prints one JSON object; exits 1 when something does not hold.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"
#include "sync.h"

enum { MAX_THREADS = 64, HELD = 8 };

static size_t rounds;
static dwcp_channel channel;
static _Atomic size_t spoiled, handed;

static void hold(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    exit(1);
}

/* What a buffer is filled with: its address, so that two that overlap differ. */
static void fill(const dwcp_buffer *buffer)
{
    memset(buffer->data, (int)((uintptr_t)buffer->data >> 12 & 0xFF) | 1, buffer->asked);
}

static void check(const dwcp_buffer *buffer)
{
    const unsigned char expected = (unsigned char)(((uintptr_t)buffer->data >> 12 & 0xFF) | 1);
    const unsigned char *data = buffer->data;
    for (size_t at = 0; at < buffer->asked; at += 61)
        if (data[at] != expected)
            atomic_fetch_add(&spoiled, 1);
}

static void pass_on(dwcp_buffer *buffer)
{
    dwcp_buffer *copy = malloc(sizeof *copy);
    *copy = *buffer;
    void *item = copy, *other;
    if (dwcp_channel_push(&channel, &item, 1) == 1) {
        atomic_fetch_add(&handed, 1);
    } else {
        check(copy);
        dwcp_pool_give(copy);
        free(copy);
    }
    if (dwcp_channel_pop(&channel, &other, 1) == 1) {
        check(other);
        dwcp_pool_give(other);
        free(other);
    }
}

static void *work(void *argument)
{
    uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)argument * 7919;
    dwcp_buffer held[HELD] = {{0}};
    for (size_t round = 0; round < rounds; round++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        dwcp_buffer *slot = &held[state % HELD];
        if (slot->data) {
            check(slot);
            if (state >> 32 & 1)
                pass_on(slot);
            else
                dwcp_pool_give(slot);
        }
        /* Mostly small, now and then larger than any class. */
        const size_t size = 1 + (state >> 40) % ((size_t)4096 << (state >> 8) % 11);
        if (dwcp_pool_take(state >> 3 & 255 ? size : size + DWCP_POOL_MOST, slot) != 0)
            exit(2);
        fill(slot);
        if (round % 1000 == 999)
            dwcp_pool_trim(0);
    }
    for (int i = 0; i < HELD; i++)
        if (held[i].data)
            dwcp_pool_give(&held[i]);
    return NULL;
}

static void check_sizes(void)
{
    for (size_t size = 1; size <= DWCP_POOL_MOST; size += size < 20000 ? 1 : 997) {
        const size_t rounded = dwcp_pool_rounded(size);
        hold(rounded >= size, "a buffer is as large as asked");
        hold(size <= DWCP_POOL_LEAST || rounded * 4 <= size * 5 + 4, "at most a quarter is added");
        hold(dwcp_pool_rounded(rounded) == rounded, "a rounded size is one");
    }
    dwcp_buffer none;
    hold(dwcp_pool_take(0, &none) == EINVAL && dwcp_pool_take(SIZE_MAX, &none) == EINVAL, "impossible sizes are refused");
}

static void check_trim(void)
{
    enum { COUNT = 32, SIZE = 1 << 20 };
    hold(dwcp_pool_warm(SIZE, COUNT) == 0, "the pool can be warmed");
    dwcp_pool_statistics before, warm, after;
    dwcp_pool_measure(&warm);
    hold(warm.resident >= (size_t)COUNT * SIZE, "warm buffers have their pages");
    before = warm;
    dwcp_buffer taken[COUNT];
    for (int i = 0; i < COUNT; i++)
        hold(dwcp_pool_take(SIZE, &taken[i]) == 0, "a warm buffer can be taken");
    dwcp_pool_measure(&warm);
    hold(warm.from_fresh == before.from_fresh, "warm buffers are used before fresh ones");
    hold(warm.live == before.live + (size_t)COUNT * SIZE, "what is out is counted");
    for (int i = 0; i < COUNT; i++)
        dwcp_pool_give(&taken[i]);
    hold(dwcp_pool_trim(0) >= (size_t)COUNT * (SIZE - 4096), "idle pages go back");
    dwcp_pool_measure(&after);
    hold(after.resident + (size_t)COUNT * (SIZE - 4096) <= warm.resident, "the kernel agrees that they went");
    for (int i = 0; i < COUNT; i++) {
        hold(dwcp_pool_take(SIZE, &taken[i]) == 0, "a trimmed buffer can be taken");
        fill(&taken[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        check(&taken[i]);
        dwcp_pool_give(&taken[i]);
    }
}

static void take_and_fill(dwcp_buffer *taken, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        hold(dwcp_pool_take(size, &taken[i]) == 0, "a buffer can be taken");
        fill(&taken[i]);
    }
}

static void give_all(const dwcp_buffer *taken, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dwcp_pool_give(&taken[i]);
}

/* Of two sizes that lie idle, the one that nobody asked for of late is the one that gives its memory back. */
static void check_idle_limit(void)
{
    enum { OLD = 36, NEW = 40, OLD_SIZE = 1 << 20, NEW_SIZE = 512 << 10, MIB = 1 << 20 };
    static dwcp_buffer taken[NEW];
    dwcp_pool_statistics old, both, again;
    dwcp_pool_trim(0);
    take_and_fill(taken, OLD, OLD_SIZE);
    give_all(taken, OLD);
    dwcp_pool_flush();
    dwcp_pool_measure(&old);
    usleep(1200000);
    take_and_fill(taken, NEW, NEW_SIZE);
    give_all(taken, NEW);
    dwcp_pool_flush();
    dwcp_pool_measure(&both);
    hold(both.resident + 20 * MIB <= old.resident + (size_t)NEW * NEW_SIZE, "what was not asked for of late gives its pages back");
    take_and_fill(taken, NEW, NEW_SIZE);
    dwcp_pool_measure(&again);
    hold(again.resident <= both.resident + 2 * MIB && again.from_fresh == both.from_fresh, "what was used last keeps them");
    give_all(taken, NEW);
}

/* A child writes to a buffer it gave back, and is to be stopped at the next take. */
static void check_poison(void)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        dwcp_buffer buffer;
        fclose(stderr);
        if (dwcp_pool_take(5000, &buffer) != 0)
            _exit(2);
        dwcp_pool_give(&buffer);
        ((unsigned char *)buffer.data)[100] = 7;
        dwcp_pool_take(5000, &buffer);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    hold(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a write to an idle buffer is noticed");
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "pool THREADS ROUNDS poison|plain\n");
        return 2;
    }
    const size_t count = strtoul(argv[1], NULL, 10);
    const bool poisoned = strcmp(argv[3], "poison") == 0;
    rounds = strtoul(argv[2], NULL, 10);
    if (count < 1 || count > MAX_THREADS || dwcp_channel_init(&channel, DWCP_QUEUE, 64) != 0)
        return 2;
    if (poisoned)
        hold(dwcp_pool_poison() == 0, "poison can be asked for at the start");
    check_sizes();
    pthread_t threads[MAX_THREADS];
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0)
            return 2;
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    void *left;
    while (dwcp_channel_pop(&channel, &left, 1) == 1) {
        check(left);
        dwcp_pool_give(left);
        free(left);
    }
    dwcp_channel_free(&channel);
    dwcp_pool_statistics now;
    dwcp_pool_measure(&now);
    hold(spoiled == 0, "nobody writes to another's buffer");
    hold(handed > 0, "buffers were handed from thread to thread");
    hold(now.live == 0 && now.live_asked == 0, "all came back");
    hold(now.from_thread + now.from_shared + now.from_fresh + now.oversize == count * rounds, "every take is counted");
    hold(now.given == count * rounds, "every give is counted");
    hold(dwcp_pool_poison() == EBUSY, "poison cannot be asked for later");
    check_trim();
    check_idle_limit();
    if (poisoned)
        check_poison();
    printf("{\"from_thread\": %zu, \"from_shared\": %zu, \"from_fresh\": %zu, \"oversize\": %zu, \"handed\": %zu}\n",
           (size_t)now.from_thread, (size_t)now.from_shared, (size_t)now.from_fresh, (size_t)now.oversize, (size_t)handed);
    return 0;
}
