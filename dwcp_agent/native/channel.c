/* Any of the bounded structures, and waiting for it: without a lock, and without a system call while nobody waits. */
#define _GNU_SOURCE
#include "sync.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int dwcp_channel_init(dwcp_channel *channel, dwcp_shape shape, size_t capacity)
{
    channel->shape = shape;
    atomic_init(&channel->pushed.waiters, 0);
    atomic_init(&channel->pushed.epoch, 0);
    atomic_init(&channel->popped.waiters, 0);
    atomic_init(&channel->popped.epoch, 0);
    atomic_init(&channel->closed, false);
    switch (shape) {
    case DWCP_QUEUE:
        return dwcp_mpmc_init(&channel->of.queue, capacity);
    case DWCP_RING:
        return dwcp_ring_init(&channel->of.ring, capacity);
    case DWCP_STACK:
        return dwcp_stack_init(&channel->of.stack, capacity);
    }
    return EINVAL;
}

void dwcp_channel_free(dwcp_channel *channel)
{
    switch (channel->shape) {
    case DWCP_QUEUE:
        dwcp_mpmc_free(&channel->of.queue);
        break;
    case DWCP_RING:
        dwcp_ring_free(&channel->of.ring);
        break;
    case DWCP_STACK:
        dwcp_stack_free(&channel->of.stack);
        break;
    }
}

size_t dwcp_channel_capacity(const dwcp_channel *channel)
{
    switch (channel->shape) {
    case DWCP_QUEUE:
        return channel->of.queue.capacity;
    case DWCP_RING:
        return channel->of.ring.capacity;
    case DWCP_STACK:
        return channel->of.stack.capacity;
    }
    return 0;
}

size_t dwcp_channel_length(dwcp_channel *channel)
{
    switch (channel->shape) {
    case DWCP_QUEUE:
        return dwcp_mpmc_length(&channel->of.queue);
    case DWCP_RING:
        return dwcp_ring_length(&channel->of.ring);
    case DWCP_STACK:
        return dwcp_stack_length(&channel->of.stack);
    }
    return 0;
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
    return syscall(SYS_futex, (uint32_t *)word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

/*
 * Wakes everyone who waits. The exchange on `waiters` orders this against a waiter's: either it comes first, and the waiter's look
 * afterwards sees what changed; or the waiter's comes first, and this one sees the waiter.
 */
static void changed(dwcp_event *event)
{
    if (atomic_fetch_add_explicit(&event->waiters, 0, memory_order_acq_rel) == 0)
        return;
    atomic_fetch_add_explicit(&event->epoch, 1, memory_order_release);
    futex(&event->epoch, FUTEX_WAKE, INT32_MAX, NULL);
}

static bool has_room(dwcp_channel *channel)
{
    return dwcp_channel_length(channel) < dwcp_channel_capacity(channel);
}

static bool has_item(dwcp_channel *channel)
{
    return dwcp_channel_length(channel) > 0;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * A sleep and the wake-up that ends it cost two system calls and two switches; giving the processor to whoever is runnable often suffices,
 * the more so where threads outnumber processors. Not for long: a processor that is given away comes back when the others please.
 */
enum { YIELDS = 16, YIELD_NS = 50000 };

static bool wait_for(dwcp_channel *channel, dwcp_event *event, bool (*met)(dwcp_channel *), int64_t timeout_ns)
{
    if (met(channel) || dwcp_channel_closed(channel))
        return true;
    dwcp_contention_here.waits++;
    const int64_t began = now_ns();
    int64_t passed = 0;
    for (int i = 0; i < YIELDS && passed < YIELD_NS && (timeout_ns < 0 || passed < timeout_ns); i++) {
        sched_yield();
        if (met(channel) || dwcp_channel_closed(channel))
            return true;
        passed = now_ns() - began;
    }
    if (timeout_ns >= 0 && passed >= timeout_ns)
        return false;
    bool in_time = true;
    const uint32_t epoch = atomic_load_explicit(&event->epoch, memory_order_acquire);
    atomic_fetch_add_explicit(&event->waiters, 1, memory_order_acq_rel);
    if (!met(channel) && !dwcp_channel_closed(channel)) {
        const int64_t rest = timeout_ns - passed;
        const struct timespec left = {.tv_sec = rest / 1000000000, .tv_nsec = rest % 1000000000};
        dwcp_contention_here.sleeps++;
        if (futex(&event->epoch, FUTEX_WAIT, epoch, timeout_ns < 0 ? NULL : &left) != 0 && errno == ETIMEDOUT)
            in_time = false;
    }
    atomic_fetch_sub_explicit(&event->waiters, 1, memory_order_relaxed);
    return in_time;
}

bool dwcp_channel_wait_room(dwcp_channel *channel, int64_t timeout_ns)
{
    return wait_for(channel, &channel->popped, has_room, timeout_ns);
}

bool dwcp_channel_wait_item(dwcp_channel *channel, int64_t timeout_ns)
{
    return wait_for(channel, &channel->pushed, has_item, timeout_ns);
}

size_t dwcp_channel_push(dwcp_channel *channel, void *const *items, size_t count)
{
    size_t pushed = 0;
    if (count == 0 || dwcp_channel_closed(channel))
        return 0;
    switch (channel->shape) {
    case DWCP_QUEUE:
        pushed = dwcp_mpmc_push(&channel->of.queue, items, count);
        break;
    case DWCP_RING:
        pushed = dwcp_ring_push(&channel->of.ring, items, count);
        break;
    case DWCP_STACK:
        pushed = dwcp_stack_push(&channel->of.stack, items, count);
        break;
    }
    if (pushed)
        changed(&channel->pushed);
    return pushed;
}

size_t dwcp_channel_pop(dwcp_channel *channel, void **items, size_t room)
{
    size_t popped = 0;
    switch (channel->shape) {
    case DWCP_QUEUE:
        popped = dwcp_mpmc_pop(&channel->of.queue, items, room);
        break;
    case DWCP_RING:
        popped = dwcp_ring_pop(&channel->of.ring, items, room);
        break;
    case DWCP_STACK:
        popped = dwcp_stack_pop(&channel->of.stack, items, room);
        break;
    }
    if (popped)
        changed(&channel->popped);
    return popped;
}

void dwcp_channel_close(dwcp_channel *channel)
{
    atomic_store_explicit(&channel->closed, true, memory_order_release);
    changed(&channel->pushed);
    changed(&channel->popped);
}

size_t dwcp_channel_waiting(dwcp_channel *channel)
{
    return (size_t)atomic_load_explicit(&channel->pushed.waiters, memory_order_relaxed) +
           (size_t)atomic_load_explicit(&channel->popped.waiters, memory_order_relaxed);
}

bool dwcp_channel_closed(const dwcp_channel *channel)
{
    return atomic_load_explicit(&channel->closed, memory_order_acquire);
}
