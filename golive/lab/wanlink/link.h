/* One direction of a WAN link: a queue of bounded length in front of a wire with a rate, a delay, and a loss. */
#ifndef DWCP_LINK_H
#define DWCP_LINK_H

#include <stddef.h>
#include <stdint.h>

struct setting {
    int64_t delay_ns;
    int64_t jitter_ns;     /* added or taken away, evenly spread; packets stay in order */
    int64_t bits_per_s;    /* of IP packets; 0: no limit and no queue */
    int64_t queue_bytes;   /* of IP packets that wait for the wire; what does not fit is dropped */
    int64_t loss_per_million; /* of packets on the wire, each by its own chance */
    int64_t damage_per_million; /* of packets with content, each by its own chance: one bit differs, and no checksum of TCP says so */
};

struct count {
    uint64_t packets, bytes; /* handed over at the far end; bytes of IP packets */
    uint64_t lost;           /* on the wire */
    uint64_t damaged;        /* on the wire */
    uint64_t dropped;        /* at the full queue */
    uint64_t refused;        /* by the far end's device, and what could not be read */
    int64_t latest_ns;       /* how long after its time a packet was handed over, at worst: the machine was busy */
};

struct waiting {
    int64_t due_ns;
    uint32_t length, packets, wire_bytes;
    uint8_t *data;
};

struct direction {
    struct waiting *line; /* ring of packets on the wire, in order of their time */
    size_t room, head, held;
    size_t held_bytes;
    int64_t free_ns; /* when the wire has taken all that waits */
    int64_t last_ns; /* when the last packet on the wire is due */
    uint64_t until_loss;
    uint64_t until_damage;
    uint64_t random;
    struct count count;
    uint8_t *cut; /* PACKET_LONGEST bytes */
};

/* Returns false when there is no memory. The same seed loses the same packets. */
int link_begin(struct direction *way, uint64_t seed);

/* The chances and the pace from now on; what is on the wire already stays as it is. */
void link_change(struct direction *way, const struct setting *before, const struct setting *after, int64_t now_ns);

/* A packet (virtio-net header and IP packet) reached the link at `now_ns`. */
void link_take(struct direction *way, const struct setting *setting, const uint8_t *packet, size_t length, int64_t now_ns);

/* Hands everything that is due to `device`; returns when the next packet is due, or -1 when the wire is empty. */
int64_t link_deliver(struct direction *way, int device, int64_t now_ns);

#endif
