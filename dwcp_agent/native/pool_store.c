/* What lies behind the threads' caches: memory in slabs, cut into buffers, and idle buffers on lock-free stacks. */
#define _GNU_SOURCE
#include "pool_store.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pool.h"
#include "sync.h"

enum {
    SLAB = 2 << 20, /* mapped at once, and the size of a huge page */
    SHARED = 1024,  /* idle buffers of a class that are kept without a lock */
    PAGE = DWCP_POOL_PAGE,
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
    char *fresh;     /* memory of the last slab not yet cut, under the lock */
    char *fresh_end;
    void *overflow;  /* idle buffers that the stack has no room for, linked through their first word, under the lock */
} class_store;

static class_store stores[DWCP_POOL_CLASSES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* slabs, fresh memory, overflow: not where an idle buffer is found */
static slab *slabs;
static _Atomic bool huge = true;

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
        const size_t length = (size + SLAB - 1) / SLAB * SLAB;
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

void dwcp_store_put(int number, void *data)
{
    class_store *store = &stores[number];
    if (made_ready(store) && dwcp_stack_push(&store->idle, &data, 1) == 1)
        return;
    pthread_mutex_lock(&lock);
    memcpy(data, &store->overflow, sizeof store->overflow);
    store->overflow = data;
    pthread_mutex_unlock(&lock);
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
    if (made_ready(store) && dwcp_stack_pop(&store->idle, &data, 1) == 1)
        return data;
    pthread_mutex_lock(&lock);
    data = idle_overflow(store);
    if (!data) {
        data = cut_fresh(number);
        *fresh = true;
    }
    pthread_mutex_unlock(&lock);
    return data;
}

static size_t without_pages(void *data, size_t size)
{
    /* The first page stays: it may hold the link to the next idle buffer. */
    char *from = (char *)(((uintptr_t)data + sizeof(void *) + PAGE - 1) / PAGE * PAGE);
    char *to = (char *)(((uintptr_t)data + size) / PAGE * PAGE);
    return to > from && madvise(from, (size_t)(to - from), MADV_DONTNEED) == 0 ? (size_t)(to - from) : 0;
}

size_t dwcp_store_trim(void)
{
    size_t freed = 0;
    for (int number = 0; number < DWCP_POOL_CLASSES; number++) {
        class_store *store = &stores[number];
        const size_t size = dwcp_store_size(number);
        void *idle[SHARED];
        size_t count = 0;
        if (atomic_load_explicit(&store->made, memory_order_acquire))
            count = dwcp_stack_pop(&store->idle, idle, SHARED); /* nobody else has them while their pages go */
        for (size_t i = 0; i < count; i++)
            freed += without_pages(idle[i], size);
        for (size_t i = 0; i < count; i++)
            dwcp_store_put(number, idle[i]);
        pthread_mutex_lock(&lock);
        for (void *data = store->overflow; data; memcpy(&data, data, sizeof data))
            freed += without_pages(data, size);
        pthread_mutex_unlock(&lock);
    }
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
