/* Buffers by size class. A quarter of a doubling lies between two classes, so that at most a fifth of a buffer is unasked for. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sync.h"

enum {
    CLASSES = 41,          /* 4 KiB, 5, 6, 7, 8, 10, ... 4 MiB */
    SLAB = 2 << 20,        /* mapped at once, and the size of a huge page */
    SHARED = 1024,         /* buffers of a class that the shared store holds without a lock */
    THREAD_BUFFERS = 16,   /* of a class in a thread's cache, and */
    THREAD_BYTES = 16 << 20, /* bytes of all classes in it */
    PAGE = 4096,
};
static const unsigned char POISON = 0xDB;

static size_t size_of(int number)
{
    return ((size_t)DWCP_POOL_LEAST << (number / 4)) / 4 * (4 + (size_t)number % 4);
}

static int class_of(size_t size)
{
    if (size <= DWCP_POOL_LEAST)
        return 0;
    const int doubling = 63 - __builtin_clzll((size - 1) / DWCP_POOL_LEAST);
    const size_t quarter = ((size_t)DWCP_POOL_LEAST << doubling) / 4;
    return 4 * doubling + (int)((size - 1) / quarter) - 3;
}

size_t dwcp_pool_rounded(size_t size)
{
    return size > DWCP_POOL_MOST ? (size + PAGE - 1) / PAGE * PAGE : size_of(class_of(size));
}

/* ---- what lies behind the threads' caches ---- */
typedef struct slab {
    struct slab *next;
    char *data;
    size_t size;
} slab;

typedef struct {
    dwcp_stack idle; /* lock-free; ready once `made` is true */
    _Atomic bool made;
    char *fresh;     /* memory of the last slab not yet cut, under the lock */
    char *fresh_end;
    void *overflow;  /* idle buffers that the stack has no room for, linked through their first word, under the lock */
} class_store;

static class_store stores[CLASSES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* slabs, fresh memory, overflow, the list of caches: never on the fast path */
static slab *slabs;
static _Atomic bool poison;
static _Atomic bool huge = true;
static _Atomic size_t mapped, oversize_live, oversize_asked;

/* ---- a thread's cache; its counters are written by that thread and read by any ---- */
typedef struct cache {
    struct cache *next;
    size_t bytes;
    size_t held[CLASSES];
    void *buffers[CLASSES][THREAD_BUFFERS];
    _Atomic uint64_t from_thread, from_shared, from_fresh, oversize, given;
    _Atomic int64_t asked, live; /* may be below zero: what one thread took another gave */
} cache;

static cache *caches;  /* of threads that run */
static cache gone;     /* counters of those that ended */
static _Thread_local cache *here;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static inline void add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

static inline void change(_Atomic int64_t *counter, int64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

static void store_idle(int number, void *data);

static void flush(cache *of)
{
    for (int number = 0; number < CLASSES; number++)
        while (of->held[number])
            store_idle(number, of->buffers[number][--of->held[number]]);
    of->bytes = 0;
}

static void sum_into(cache *total, const cache *one)
{
    add(&total->from_thread, atomic_load_explicit(&one->from_thread, memory_order_relaxed));
    add(&total->from_shared, atomic_load_explicit(&one->from_shared, memory_order_relaxed));
    add(&total->from_fresh, atomic_load_explicit(&one->from_fresh, memory_order_relaxed));
    add(&total->oversize, atomic_load_explicit(&one->oversize, memory_order_relaxed));
    add(&total->given, atomic_load_explicit(&one->given, memory_order_relaxed));
    change(&total->asked, atomic_load_explicit(&one->asked, memory_order_relaxed));
    change(&total->live, atomic_load_explicit(&one->live, memory_order_relaxed));
}

static void thread_ends(void *argument)
{
    cache *mine = argument;
    flush(mine);
    pthread_mutex_lock(&lock);
    sum_into(&gone, mine);
    for (cache **at = &caches; *at; at = &(*at)->next)
        if (*at == mine) {
            *at = mine->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    free(mine);
    here = NULL;
}

static void make_key(void)
{
    pthread_key_create(&at_exit, thread_ends);
}

static cache *cache_here(void)
{
    if (here)
        return here;
    pthread_once(&once, make_key);
    cache *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    pthread_setspecific(at_exit, made);
    pthread_mutex_lock(&lock);
    made->next = caches;
    caches = made;
    pthread_mutex_unlock(&lock);
    return here = made;
}

/* ---- memory ---- */
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

/* A buffer of memory never used before; the lock is held. */
static void *cut_fresh(int number)
{
    class_store *store = &stores[number];
    const size_t size = size_of(number);
    if ((size_t)(store->fresh_end - store->fresh) < size) {
        const size_t length = (size + SLAB - 1) / SLAB * SLAB;
        slab *made = malloc(sizeof *made);
        char *data = made ? map(length, SLAB) : NULL;
        if (!data) {
            free(made);
            return NULL;
        }
        *made = (slab){slabs, data, length};
        slabs = made;
        atomic_fetch_add_explicit(&mapped, length, memory_order_relaxed);
        store->fresh = data;
        store->fresh_end = data + length;
    }
    void *data = store->fresh;
    store->fresh += size;
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

static void store_idle(int number, void *data)
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

/* From the shared store, or fresh; NULL when there is no memory. */
static void *from_behind(int number, cache *mine)
{
    class_store *store = &stores[number];
    void *data;
    if (made_ready(store) && dwcp_stack_pop(&store->idle, &data, 1) == 1) {
        add(&mine->from_shared, 1);
        return data;
    }
    pthread_mutex_lock(&lock);
    data = idle_overflow(store);
    if (data) {
        add(&mine->from_shared, 1);
    } else {
        data = cut_fresh(number);
        if (data)
            add(&mine->from_fresh, 1);
    }
    pthread_mutex_unlock(&lock);
    return data;
}

/* ---- poison ---- */
/* The first word links idle buffers, trimmed pages are zero: neither counts. */
static void look_for_writes(const dwcp_buffer *buffer)
{
    const unsigned char *data = buffer->data;
    for (size_t at = sizeof(void *); at < buffer->size; at++)
        if (data[at] != POISON && data[at] != 0) {
            fprintf(stderr, "dwcp: byte %zu of a buffer of %zu was written to after it had been given back\n", at, buffer->size);
            abort();
        }
}

int dwcp_pool_poison(void)
{
    if (atomic_load_explicit(&mapped, memory_order_relaxed))
        return EBUSY;
    atomic_store_explicit(&poison, true, memory_order_relaxed);
    return 0;
}

/* ---- the two calls that count ---- */
static int take_oversize(size_t size, dwcp_buffer *out, cache *mine)
{
    const size_t rounded = dwcp_pool_rounded(size);
    void *data = map(rounded, size >= SLAB ? SLAB : PAGE);
    if (!data)
        return ENOMEM;
    atomic_fetch_add_explicit(&mapped, rounded, memory_order_relaxed);
    atomic_fetch_add_explicit(&oversize_live, rounded, memory_order_relaxed);
    atomic_fetch_add_explicit(&oversize_asked, size, memory_order_relaxed);
    add(&mine->oversize, 1);
    *out = (dwcp_buffer){data, rounded, size, -1};
    return 0;
}

int dwcp_pool_take(size_t size, dwcp_buffer *out)
{
    if (size == 0 || size > (size_t)1 << 40)
        return EINVAL;
    cache *mine = cache_here();
    if (!mine)
        return ENOMEM;
    if (size > DWCP_POOL_MOST)
        return take_oversize(size, out, mine);
    const int number = class_of(size);
    *out = (dwcp_buffer){NULL, size_of(number), size, number};
    if (mine->held[number]) {
        out->data = mine->buffers[number][--mine->held[number]];
        mine->bytes -= out->size;
        add(&mine->from_thread, 1);
    } else {
        const uint64_t fresh = atomic_load_explicit(&mine->from_fresh, memory_order_relaxed);
        out->data = from_behind(number, mine);
        if (!out->data)
            return ENOMEM;
        if (fresh != atomic_load_explicit(&mine->from_fresh, memory_order_relaxed))
            goto taken; /* never given back, so nothing was left in it */
    }
    if (atomic_load_explicit(&poison, memory_order_relaxed))
        look_for_writes(out);
taken:
    change(&mine->asked, (int64_t)size);
    change(&mine->live, (int64_t)out->size);
    return 0;
}

void dwcp_pool_give(const dwcp_buffer *buffer)
{
    cache *mine = cache_here();
    if (buffer->number < 0) {
        munmap(buffer->data, buffer->size);
        atomic_fetch_sub_explicit(&mapped, buffer->size, memory_order_relaxed);
        atomic_fetch_sub_explicit(&oversize_live, buffer->size, memory_order_relaxed);
        atomic_fetch_sub_explicit(&oversize_asked, buffer->asked, memory_order_relaxed);
        if (mine)
            add(&mine->given, 1);
        return;
    }
    const int number = buffer->number;
    if (atomic_load_explicit(&poison, memory_order_relaxed))
        memset(buffer->data, POISON, buffer->size);
    if (mine) {
        add(&mine->given, 1);
        change(&mine->asked, -(int64_t)buffer->asked);
        change(&mine->live, -(int64_t)buffer->size);
    }
    if (mine && mine->held[number] < THREAD_BUFFERS && mine->bytes + buffer->size <= THREAD_BYTES) {
        mine->buffers[number][mine->held[number]++] = buffer->data;
        mine->bytes += buffer->size;
    } else {
        store_idle(number, buffer->data);
    }
}

/* ---- now and then ---- */
int dwcp_pool_warm(size_t size, size_t count)
{
    if (size == 0 || size > DWCP_POOL_MOST || count > (1u << 20))
        return EINVAL;
    const int number = class_of(size);
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&lock);
        char *data = cut_fresh(number);
        pthread_mutex_unlock(&lock);
        if (!data)
            return ENOMEM;
        memset(data, atomic_load_explicit(&poison, memory_order_relaxed) ? POISON : 0, size_of(number));
        store_idle(number, data);
    }
    return 0;
}

static size_t without_pages(void *data, size_t size)
{
    /* The first page stays: it may hold the link to the next idle buffer. */
    char *from = (char *)(((uintptr_t)data + sizeof(void *) + PAGE - 1) / PAGE * PAGE);
    char *to = (char *)(((uintptr_t)data + size) / PAGE * PAGE);
    return to > from && madvise(from, (size_t)(to - from), MADV_DONTNEED) == 0 ? (size_t)(to - from) : 0;
}

size_t dwcp_pool_trim(void)
{
    size_t freed = 0;
    if (here)
        flush(here);
    for (int number = 0; number < CLASSES; number++) {
        class_store *store = &stores[number];
        const size_t size = size_of(number);
        void *idle[SHARED];
        size_t count = 0;
        if (atomic_load_explicit(&store->made, memory_order_acquire))
            count = dwcp_stack_pop(&store->idle, idle, SHARED); /* nobody else has them while their pages go */
        for (size_t i = 0; i < count; i++)
            freed += without_pages(idle[i], size);
        for (size_t i = 0; i < count; i++)
            store_idle(number, idle[i]);
        pthread_mutex_lock(&lock);
        for (void *data = store->overflow; data; memcpy(&data, data, sizeof data))
            freed += without_pages(data, size);
        pthread_mutex_unlock(&lock);
    }
    return freed;
}

static size_t resident_of(const slab *one)
{
    static const size_t PAGES = SLAB / PAGE;
    unsigned char there[SLAB / PAGE];
    size_t pages = 0;
    for (size_t at = 0; at < one->size; at += SLAB)
        if (mincore(one->data + at, SLAB, there) == 0)
            for (size_t i = 0; i < PAGES; i++)
                pages += there[i] & 1;
    return pages * PAGE;
}

void dwcp_pool_measure(dwcp_pool_statistics *out)
{
    cache total;
    memset(&total, 0, sizeof total);
    size_t resident = 0;
    pthread_mutex_lock(&lock);
    sum_into(&total, &gone);
    for (const cache *one = caches; one; one = one->next)
        sum_into(&total, one);
    for (const slab *one = slabs; one; one = one->next)
        resident += resident_of(one);
    pthread_mutex_unlock(&lock);
    const size_t alone = atomic_load_explicit(&oversize_live, memory_order_relaxed);
    *out = (dwcp_pool_statistics){
        .from_thread = total.from_thread,
        .from_shared = total.from_shared,
        .from_fresh = total.from_fresh,
        .oversize = total.oversize,
        .given = total.given,
        .live_asked = (size_t)total.asked + atomic_load_explicit(&oversize_asked, memory_order_relaxed),
        .live = (size_t)total.live + alone,
        .mapped = atomic_load_explicit(&mapped, memory_order_relaxed),
        .resident = resident + alone,
        .huge = atomic_load_explicit(&huge, memory_order_relaxed),
    };
}
