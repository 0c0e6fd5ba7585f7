/* What lies behind the threads' caches: memory in slabs, cut into buffers, and idle buffers on lock-free stacks. */
#define _GNU_SOURCE
#include "pool_store.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pool.h"
#include "sync.h"

enum {
    SLAB = 2 << 20, /* mapped at once, and the size of a huge page; */
    LARGE_SLAB = 16 << 20, /* for buffers of over an eighth of that: cut from end to end, so that no huge page is half unused */
    SHARED = 1024,  /* idle buffers of a class that are kept without a lock */
    PAGE = DWCP_POOL_PAGE,
    IDLE_MOST = 32 << 20, /* bytes of idle buffers above which */
    COLD_MS = 1000,       /* what nobody asked for so long gives its pages back: sizes come and go */
    LOOK_EVERY_MS = 100,
};

/* A piece of address space: many buffers of a class, or one that is larger than any. */
typedef struct slab {
    struct slab *next;
    char *data;
    size_t size;
} slab;

typedef struct {
    dwcp_stack idle; /* ready once `made` is true */
    _Atomic bool made;
    _Atomic int64_t asked_at; /* when the store was last asked for one, in ms */
    _Atomic int64_t full;     /* idle buffers that have their pages; those that have not lie below them. Of late, as a stack's length is */
    char *fresh;     /* memory of the last slab not yet cut, under the lock */
    char *fresh_end;
    void *overflow;  /* idle buffers that the stack has no room for, linked through their first word, under the lock */
} class_store;

static class_store stores[DWCP_POOL_CLASSES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* slabs, fresh memory, overflow: not where an idle buffer is found */
static slab *slabs;
static _Atomic bool huge = true;
static _Atomic int64_t idle_bytes; /* of all classes' full buffers */
static _Atomic int64_t looked_at;  /* when cold ones were last looked for, in ms */
static pthread_mutex_t trimming = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int being_trimmed = -1; /* the class whose idle buffers are out of reach for now */

size_t dwcp_store_size(int number)
{
    return ((size_t)DWCP_POOL_LEAST << (number / 4)) / 4 * (4 + (size_t)number % 4);
}

int dwcp_store_class(size_t size)
{
    if (size <= DWCP_POOL_LEAST)
        return 0;
    const int doubling = 63 - __builtin_clzll((size - 1) / DWCP_POOL_LEAST);
    const size_t quarter = ((size_t)DWCP_POOL_LEAST << doubling) / 4;
    return 4 * doubling + (int)((size - 1) / quarter) - 3;
}

static void *map(size_t size, size_t alignment)
{
    char *whole = mmap(NULL, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED)
        return NULL;
    char *data = (char *)(((uintptr_t)whole + alignment - 1) / alignment * alignment);
    if (data > whole)
        munmap(whole, (size_t)(data - whole));
    if (whole + alignment > data)
        munmap(data + size, (size_t)(whole + alignment - data));
    if (size >= SLAB && madvise(data, size, MADV_HUGEPAGE) != 0)
        atomic_store_explicit(&huge, false, memory_order_relaxed);
    return data;
}

/* Maps and remembers; the lock is held. */
static void *new_slab(size_t size)
{
    slab *made = malloc(sizeof *made);
    char *data = made ? map(size, size >= SLAB ? SLAB : PAGE) : NULL;
    if (!data) {
        free(made);
        return NULL;
    }
    *made = (slab){slabs, data, size};
    slabs = made;
    return data;
}

void *dwcp_store_map(size_t size)
{
    pthread_mutex_lock(&lock);
    void *data = new_slab(size);
    pthread_mutex_unlock(&lock);
    return data;
}

void dwcp_store_unmap(void *data)
{
    slab *found = NULL;
    pthread_mutex_lock(&lock);
    for (slab **at = &slabs; *at; at = &(*at)->next)
        if ((*at)->data == data) {
            found = *at;
            *at = found->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    if (found)
        munmap(found->data, found->size);
    free(found);
}

/* The lock is held. */
static void *cut_fresh(int number)
{
    class_store *store = &stores[number];
    const size_t size = dwcp_store_size(number);
    if ((size_t)(store->fresh_end - store->fresh) < size) {
        const size_t length = size > SLAB / 8 ? LARGE_SLAB : SLAB;
        char *data = new_slab(length);
        if (!data)
            return NULL;
        store->fresh = data;
        store->fresh_end = data + length;
    }
    void *data = store->fresh;
    store->fresh += size;
    return data;
}

void *dwcp_store_fresh(int number)
{
    pthread_mutex_lock(&lock);
    void *data = cut_fresh(number);
    pthread_mutex_unlock(&lock);
    return data;
}

static bool made_ready(class_store *store)
{
    if (atomic_load_explicit(&store->made, memory_order_acquire))
        return true;
    pthread_mutex_lock(&lock);
    if (!atomic_load_explicit(&store->made, memory_order_relaxed) && dwcp_stack_init(&store->idle, SHARED) == 0)
        atomic_store_explicit(&store->made, true, memory_order_release);
    pthread_mutex_unlock(&lock);
    return atomic_load_explicit(&store->made, memory_order_acquire);
}

static void add_idle(int number, int64_t buffers)
{
    atomic_fetch_add_explicit(&idle_bytes, buffers * (int64_t)dwcp_store_size(number), memory_order_relaxed);
}

/* Lowers the count of full buffers to `keep` at most, or by one with `keep` < 0; never below none. */
static void lower_full(int number, int64_t keep)
{
    class_store *store = &stores[number];
    int64_t seen = atomic_load_explicit(&store->full, memory_order_relaxed), less;
    do {
        less = keep < 0 ? seen - 1 : keep;
        if (seen <= 0 || less >= seen)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&store->full, &seen, less, memory_order_relaxed, memory_order_relaxed));
    add_idle(number, less - seen);
}

static void lay_down(int number, void *data)
{
    class_store *store = &stores[number];
    if (made_ready(store) && dwcp_stack_push(&store->idle, &data, 1) == 1)
        return;
    pthread_mutex_lock(&lock);
    memcpy(data, &store->overflow, sizeof store->overflow);
    store->overflow = data;
    pthread_mutex_unlock(&lock);
}

/* What lies in the overflow list has a link in its first page. */
static size_t without_pages(char *data, size_t size, size_t kept)
{
    char *from = (char *)(((uintptr_t)data + kept + PAGE - 1) / PAGE * PAGE);
    char *to = (char *)(((uintptr_t)data + size) / PAGE * PAGE);
    return to > from && madvise(from, (size_t)(to - from), MADV_DONTNEED) == 0 ? (size_t)(to - from) : 0;
}

/*
 * `trimming` is held: who finds the class empty meanwhile waits for it rather than cut fresh memory. What was used last lies on top, keeps
 * its pages if any does, and is used next.
 */
static size_t trim_class(int number, size_t keep)
{
    class_store *store = &stores[number];
    const size_t size = dwcp_store_size(number);
    void *idle[SHARED];
    size_t count = 0, freed = 0;
    atomic_store_explicit(&being_trimmed, number, memory_order_release);
    lower_full(number, (int64_t)keep);
    if (atomic_load_explicit(&store->made, memory_order_acquire))
        count = dwcp_stack_pop(&store->idle, idle, SHARED); /* nobody else has them while their pages go */
    for (size_t i = count; i-- > 0;) {
        if (i >= keep)
            freed += without_pages(idle[i], size, 0);
        lay_down(number, idle[i]);
    }
    pthread_mutex_lock(&lock);
    for (void *data = store->overflow; data; memcpy(&data, data, sizeof data))
        freed += without_pages(data, size, sizeof data);
    pthread_mutex_unlock(&lock);
    atomic_store_explicit(&being_trimmed, -1, memory_order_release);
    return freed;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Trims what nobody has asked for of late. What is used keeps its pages however much that is: giving them back would cost more. */
static void trim_the_cold(void)
{
    const int64_t now = now_ms();
    if (now - atomic_load_explicit(&looked_at, memory_order_relaxed) < LOOK_EVERY_MS || pthread_mutex_trylock(&trimming) != 0)
        return;
    atomic_store_explicit(&looked_at, now, memory_order_relaxed);
    for (int number = 0; number < DWCP_POOL_CLASSES; number++)
        if (atomic_load_explicit(&stores[number].full, memory_order_relaxed) > 0 &&
            now - atomic_load_explicit(&stores[number].asked_at, memory_order_relaxed) >= COLD_MS)
            trim_class(number, 0);
    pthread_mutex_unlock(&trimming);
}

void dwcp_store_put(int number, void *data)
{
    atomic_fetch_add_explicit(&stores[number].full, 1, memory_order_relaxed);
    add_idle(number, 1);
    lay_down(number, data);
    if (atomic_load_explicit(&idle_bytes, memory_order_relaxed) > IDLE_MOST)
        trim_the_cold();
}

static void *idle_overflow(class_store *store)
{
    void *data = store->overflow;
    if (data)
        memcpy(&store->overflow, data, sizeof store->overflow);
    return data;
}

void *dwcp_store_get(int number, bool *fresh)
{
    class_store *store = &stores[number];
    void *data;
    *fresh = false;
    atomic_store_explicit(&store->asked_at, now_ms(), memory_order_relaxed);
    lower_full(number, -1);
    if (made_ready(store)) {
        if (dwcp_stack_pop(&store->idle, &data, 1) == 1)
            return data;
        if (atomic_load_explicit(&being_trimmed, memory_order_acquire) == number) {
            pthread_mutex_lock(&trimming);
            pthread_mutex_unlock(&trimming);
            if (dwcp_stack_pop(&store->idle, &data, 1) == 1)
                return data;
        }
    }
    pthread_mutex_lock(&lock);
    data = idle_overflow(store);
    if (!data) {
        data = cut_fresh(number);
        *fresh = true;
    }
    pthread_mutex_unlock(&lock);
    return data;
}

size_t dwcp_store_trim(size_t keep)
{
    size_t freed = 0;
    pthread_mutex_lock(&trimming);
    for (int number = 0; number < DWCP_POOL_CLASSES; number++)
        freed += trim_class(number, keep);
    pthread_mutex_unlock(&trimming);
    return freed;
}

static size_t resident_of(const slab *one)
{
    unsigned char there[SLAB / PAGE];
    size_t pages = 0;
    for (size_t at = 0; at < one->size; at += SLAB) {
        const size_t length = one->size - at < SLAB ? one->size - at : SLAB;
        if (mincore(one->data + at, length, there) == 0)
            for (size_t i = 0; i < length / PAGE; i++)
                pages += there[i] & 1;
    }
    return pages * PAGE;
}

void dwcp_store_measure(size_t *mapped, size_t *resident, bool *unrefused)
{
    *mapped = *resident = 0;
    pthread_mutex_lock(&lock);
    for (const slab *one = slabs; one; one = one->next) {
        *mapped += one->size;
        *resident += resident_of(one);
    }
    pthread_mutex_unlock(&lock);
    *unrefused = atomic_load_explicit(&huge, memory_order_relaxed);
}
