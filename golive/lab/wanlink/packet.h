/* IP packets as a TUN device with IFF_VNET_HDR gives them: up to 64 KiB of one TCP stream at a time, to be segmented by whoever sends them on. */
#ifndef DWCP_PACKET_H
#define DWCP_PACKET_H

#include <stddef.h>
#include <stdint.h>

/* The longest that a device hands over: virtio-net header and an IP packet of 65,535 bytes. */
enum { PACKET_LONGEST = 65535 + 16 };

/* What goes over the wire for one such packet: `segments` packets of `headers` bytes and `segment` bytes of payload, the last one shorter. */
struct shape {
    uint32_t segments;
    uint32_t headers;
    uint32_t segment;
    uint32_t payload;
};

/* Returns false for what no device here gives: it is asked to leave nothing whole but TCP over IPv4. */
int packet_shape(const uint8_t *packet, size_t length, struct shape *shape);

/* Bytes of IP packets that `count` segments from `first` on have. */
uint32_t packet_wire_bytes(const struct shape *shape, uint32_t first, uint32_t count);

/* Writes a packet that has only `count` segments from `first` on into `to` (PACKET_LONGEST bytes are enough); returns its length. */
size_t packet_cut(const uint8_t *packet, size_t length, const struct shape *shape, uint32_t first, uint32_t count, uint8_t *to);

/* Where the content of a TCP packet begins whose checksum the device computes; `length` for every other packet. */
size_t packet_content(const uint8_t *packet, size_t length, uint32_t headers);

#endif
