/* One direction of a WAN link. Time is CLOCK_MONOTONIC in nanoseconds, given by the caller. */
#include "link.h"

#include "packet.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TRAIN_NS = 1000000,          /* packets that the kernel left whole travel in pieces of at most this long on the wire */
    HELD_MOST = 256 * 1024 * 1024 /* memory for what is on the wire */
};

static uint64_t next_random(struct direction *way)
{
    uint64_t z = way->random += 0x9e3779b97f4a7c15u; /* SplitMix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double next_share(struct direction *way) /* in (0, 1] */
{
    return (double)((next_random(way) >> 11) + 1) * 0x1p-53;
}

/* How many packets pass before the next is hit: the geometric distribution, by its inverse. */
static uint64_t draw_until_hit(struct direction *way, int64_t per_million)
{
    if (per_million <= 0)
        return UINT64_MAX;
    if (per_million >= 1000000)
        return 0;
    return (uint64_t)(log(next_share(way)) / log1p(-(double)per_million / 1e6));
}

int link_begin(struct direction *way, uint64_t seed)
{
    *way = (struct direction){.random = seed, .until_loss = UINT64_MAX, .until_damage = UINT64_MAX, .cut = malloc(PACKET_LONGEST)};
    return way->cut != NULL;
}

void link_change(struct direction *way, const struct setting *before, const struct setting *after, int64_t now_ns)
{
    way->until_loss = draw_until_hit(way, after->loss_per_million);
    way->until_damage = draw_until_hit(way, after->damage_per_million);
    const int64_t backlog_ns = way->free_ns - now_ns;
    if (backlog_ns > 0) /* as many bytes still wait, for a wire with another pace */
        way->free_ns =
            now_ns + (after->bits_per_s ? (int64_t)((double)backlog_ns * (double)before->bits_per_s / (double)after->bits_per_s) : 0);
}

static int64_t time_on_wire(const struct setting *setting, uint64_t bytes)
{
    return setting->bits_per_s ? (int64_t)((double)bytes * 8e9 / (double)setting->bits_per_s) : 0;
}

static int enlarge(struct direction *way)
{
    const size_t room = way->room ? way->room * 2 : 1024;
    struct waiting *line = malloc(room * sizeof *line);
    if (line == NULL)
        return 0;
    for (size_t i = 0; i < way->held; i++)
        line[i] = way->line[(way->head + i) % way->room];
    free(way->line);
    way->line = line;
    way->room = room;
    way->head = 0;
    return 1;
}

/* A packet whose checksum is still to be computed gets one that fits what it has become: damage as a man in the middle does it. */
static void damage(struct direction *way, const struct setting *setting, size_t length, uint32_t headers, uint32_t count)
{
    if (way->until_damage >= count) {
        if (way->until_damage != UINT64_MAX)
            way->until_damage -= count;
        return;
    }
    way->until_damage = draw_until_hit(way, setting->damage_per_million);
    const size_t begin = packet_content(way->cut, length, headers);
    if (begin < length) {
        way->cut[begin + next_random(way) % (length - begin)] ^= (uint8_t)(1u << next_random(way) % 8);
        way->count.damaged++;
    }
}

static void put_on_wire(struct direction *way, const struct setting *setting, const uint8_t *packet, size_t length,
                        const struct shape *shape, uint32_t first, uint32_t count)
{
    uint8_t *data = NULL;
    const size_t cut = packet_cut(packet, length, shape, first, count, way->cut);
    if (way->held_bytes + cut > HELD_MOST || (way->held == way->room && !enlarge(way)) || (data = malloc(cut)) == NULL) {
        way->count.dropped += count;
        return;
    }
    damage(way, setting, cut, shape->headers, count);
    memcpy(data, way->cut, cut);
    const double jitter = setting->jitter_ns ? (2 * next_share(way) - 1) * (double)setting->jitter_ns : 0;
    const int64_t due = way->free_ns + setting->delay_ns + (int64_t)jitter;
    if (due > way->last_ns)
        way->last_ns = due;
    way->line[(way->head + way->held++) % way->room] = (struct waiting){
        .due_ns = way->last_ns,
        .length = (uint32_t)cut,
        .packets = count,
        .wire_bytes = packet_wire_bytes(shape, first, count),
        .data = data,
    };
    way->held_bytes += cut;
}

/* The wire loses what it loses; the rest arrives in as few pieces as that leaves. */
static void transmit(struct direction *way, const struct setting *setting, const uint8_t *packet, size_t length,
                     const struct shape *shape, uint32_t first, uint32_t count)
{
    while (count > 0) {
        const uint32_t passing = way->until_loss < count ? (uint32_t)way->until_loss : count;
        if (passing)
            put_on_wire(way, setting, packet, length, shape, first, passing);
        if (way->until_loss != UINT64_MAX)
            way->until_loss -= passing;
        first += passing;
        count -= passing;
        if (count > 0) {
            way->count.lost++;
            way->until_loss = draw_until_hit(way, setting->loss_per_million);
            first++;
            count--;
        }
    }
}

void link_take(struct direction *way, const struct setting *setting, const uint8_t *packet, size_t length, int64_t now_ns)
{
    struct shape shape;
    if (!packet_shape(packet, length, &shape)) {
        way->count.refused++;
        return;
    }
    if (way->free_ns < now_ns)
        way->free_ns = now_ns;
    const uint32_t one = packet_wire_bytes(&shape, 0, 1);
    uint32_t fitting = shape.segments;
    if (setting->bits_per_s) {
        const double waiting = (double)(way->free_ns - now_ns) * (double)setting->bits_per_s / 8e9;
        const double room = (double)setting->queue_bytes - waiting;
        if (waiting > 0 && room < (double)packet_wire_bytes(&shape, 0, shape.segments))
            fitting = room > 0 ? (uint32_t)(room / one) : 0;
        if (fitting > shape.segments)
            fitting = shape.segments;
    }
    way->count.dropped += shape.segments - fitting;
    const int64_t one_ns = time_on_wire(setting, one);
    const uint32_t train = one_ns > 0 && one_ns < TRAIN_NS ? (uint32_t)(TRAIN_NS / one_ns) : one_ns ? 1 : UINT32_MAX;
    for (uint32_t first = 0; first < fitting;) {
        const uint32_t count = fitting - first < train ? fitting - first : train;
        way->free_ns += time_on_wire(setting, packet_wire_bytes(&shape, first, count));
        transmit(way, setting, packet, length, &shape, first, count);
        first += count;
    }
}

int64_t link_deliver(struct direction *way, int device, int64_t now_ns)
{
    while (way->held) {
        struct waiting *next = &way->line[way->head];
        if (next->due_ns > now_ns)
            return next->due_ns;
        ssize_t wrote;
        do
            wrote = write(device, next->data, next->length);
        while (wrote < 0 && errno == EINTR);
        if (wrote == (ssize_t)next->length) {
            way->count.packets += next->packets;
            way->count.bytes += next->wire_bytes;
        } else {
            way->count.refused += next->packets;
        }
        if (now_ns - next->due_ns > way->count.latest_ns)
            way->count.latest_ns = now_ns - next->due_ns;
        free(next->data);
        way->held_bytes -= next->length;
        way->head = (way->head + 1) % way->room;
        way->held--;
    }
    return -1;
}
