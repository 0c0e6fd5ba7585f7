/* Buffers by size class, each thread's few at hand. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool_store.h"

enum {
    CLASSES = DWCP_POOL_CLASSES,
    THREAD_BUFFERS = 16,     /* of a class in a thread's cache, and */
    THREAD_BYTES = 32 << 20, /* bytes of all classes in it; */
    LOOK_AFTER = 256,      /* gives after which classes that were not used meanwhile are put where others find them */
};
static const unsigned char POISON = 0xDB;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list of caches: never on the fast path */
static _Atomic bool poison, used;

size_t dwcp_pool_rounded(size_t size)
{
    return size > DWCP_POOL_MOST ? (size + DWCP_POOL_PAGE - 1) / DWCP_POOL_PAGE * DWCP_POOL_PAGE : dwcp_store_size(dwcp_store_class(size));
}

/* ---- a thread's cache; its counters are written by that thread and read by any ---- */
typedef struct cache {
    struct cache *next;
    size_t bytes;
    size_t held[CLASSES];
    bool used_of_late[CLASSES];
    unsigned gives;
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

static void flush(cache *of)
{
    for (int number = 0; number < CLASSES; number++)
        while (of->held[number])
            dwcp_store_put(number, of->buffers[number][--of->held[number]]);
    of->bytes = 0;
}

/* What this thread no longer asks for is of use to others, or nobody's: then the store gives its pages back. */
static void put_down_unused(cache *of)
{
    of->gives = 0;
    for (int number = 0; number < CLASSES; number++) {
        while (!of->used_of_late[number] && of->held[number]) {
            of->bytes -= dwcp_store_size(number);
            dwcp_store_put(number, of->buffers[number][--of->held[number]]);
        }
        of->used_of_late[number] = false;
    }
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
    atomic_store_explicit(&used, true, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    made->next = caches;
    caches = made;
    pthread_mutex_unlock(&lock);
    return here = made;
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
    if (atomic_load_explicit(&used, memory_order_relaxed))
        return EBUSY;
    atomic_store_explicit(&poison, true, memory_order_relaxed);
    return 0;
}

/* ---- the two calls that count ---- */
int dwcp_pool_take(size_t size, dwcp_buffer *out)
{
    if (size == 0 || size > (size_t)1 << 40)
        return EINVAL;
    cache *mine = cache_here();
    if (!mine)
        return ENOMEM;
    bool fresh = false;
    if (size > DWCP_POOL_MOST) {
        *out = (dwcp_buffer){NULL, dwcp_pool_rounded(size), size, -1};
        out->data = dwcp_store_map(out->size);
        if (!out->data)
            return ENOMEM;
        add(&mine->oversize, 1);
        fresh = true;
    } else {
        const int number = dwcp_store_class(size);
        *out = (dwcp_buffer){NULL, dwcp_store_size(number), size, number};
        if (mine->held[number]) {
            out->data = mine->buffers[number][--mine->held[number]];
            mine->bytes -= out->size;
            add(&mine->from_thread, 1);
        } else {
            out->data = dwcp_store_get(number, &fresh);
            if (!out->data)
                return ENOMEM;
            add(fresh ? &mine->from_fresh : &mine->from_shared, 1);
        }
    }
    /* What was never given back has nothing left in it to look at. */
    if (!fresh && atomic_load_explicit(&poison, memory_order_relaxed))
        look_for_writes(out);
    change(&mine->asked, (int64_t)size);
    change(&mine->live, (int64_t)out->size);
    return 0;
}

void dwcp_pool_give(const dwcp_buffer *buffer)
{
    cache *mine = cache_here();
    const int number = buffer->number;
    if (mine) {
        add(&mine->given, 1);
        change(&mine->asked, -(int64_t)buffer->asked);
        change(&mine->live, -(int64_t)buffer->size);
    }
    if (number < 0) {
        dwcp_store_unmap(buffer->data);
        return;
    }
    if (atomic_load_explicit(&poison, memory_order_relaxed))
        memset(buffer->data, POISON, buffer->size);
    if (mine) {
        mine->used_of_late[number] = true;
        if (++mine->gives >= LOOK_AFTER)
            put_down_unused(mine);
    }
    if (mine && mine->held[number] < THREAD_BUFFERS && mine->bytes + buffer->size <= THREAD_BYTES) {
        mine->buffers[number][mine->held[number]++] = buffer->data;
        mine->bytes += buffer->size;
    } else {
        dwcp_store_put(number, buffer->data);
    }
}

/* ---- now and then ---- */
int dwcp_pool_warm(size_t size, size_t count)
{
    if (size == 0 || size > DWCP_POOL_MOST || count > (1u << 20))
        return EINVAL;
    atomic_store_explicit(&used, true, memory_order_relaxed);
    const int number = dwcp_store_class(size);
    for (size_t i = 0; i < count; i++) {
        char *data = dwcp_store_fresh(number);
        if (!data)
            return ENOMEM;
        memset(data, atomic_load_explicit(&poison, memory_order_relaxed) ? POISON : 0, dwcp_store_size(number));
        dwcp_store_put(number, data);
    }
    return 0;
}

void dwcp_pool_flush(void)
{
    if (here)
        flush(here);
}

size_t dwcp_pool_trim(size_t keep)
{
    dwcp_pool_flush();
    return dwcp_store_trim(keep);
}

void dwcp_pool_measure(dwcp_pool_statistics *out)
{
    cache total;
    memset(&total, 0, sizeof total);
    pthread_mutex_lock(&lock);
    sum_into(&total, &gone);
    for (const cache *one = caches; one; one = one->next)
        sum_into(&total, one);
    pthread_mutex_unlock(&lock);
    *out = (dwcp_pool_statistics){
        .from_thread = total.from_thread,
        .from_shared = total.from_shared,
        .from_fresh = total.from_fresh,
        .oversize = total.oversize,
        .given = total.given,
        .live_asked = (size_t)total.asked,
        .live = (size_t)total.live,
    };
    dwcp_store_measure(&out->mapped, &out->resident, &out->huge);
}
