/* Segments of a TCP packet that the kernel left whole (TSO): how many there are, and packets with only some of them. */
#define _DEFAULT_SOURCE
#include "packet.h"

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>

enum { VNET = sizeof(struct virtio_net_hdr) };

static uint32_t sum(const void *bytes, size_t length, uint32_t so_far)
{
    const uint8_t *at = bytes;
    for (; length > 1; length -= 2, at += 2)
        so_far += (uint32_t)at[0] << 8 | at[1];
    return length ? so_far + ((uint32_t)at[0] << 8) : so_far;
}

static uint16_t folded(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

int packet_shape(const uint8_t *packet, size_t length, struct shape *shape)
{
    struct virtio_net_hdr vnet;
    struct iphdr ip;
    struct tcphdr tcp;
    if (length <= VNET)
        return 0;
    memcpy(&vnet, packet, VNET);
    const uint32_t ip_bytes = (uint32_t)(length - VNET);
    *shape = (struct shape){.segments = 1, .segment = ip_bytes, .payload = ip_bytes};
    if (vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return 1;
    if (vnet.gso_type != VIRTIO_NET_HDR_GSO_TCPV4 || vnet.gso_size == 0 || ip_bytes < sizeof ip)
        return 0;
    memcpy(&ip, packet + VNET, sizeof ip);
    const uint32_t ip_header = ip.ihl * 4u;
    if (ip.version != 4 || ip.protocol != IPPROTO_TCP || ip_header < sizeof ip || ip_bytes < ip_header + sizeof tcp)
        return 0;
    memcpy(&tcp, packet + VNET + ip_header, sizeof tcp);
    const uint32_t headers = ip_header + tcp.doff * 4u;
    if (tcp.doff * 4u < sizeof tcp || headers > ip_bytes)
        return 0;
    const uint32_t payload = ip_bytes - headers;
    *shape = (struct shape){
        .segments = payload ? (payload + vnet.gso_size - 1) / vnet.gso_size : 1,
        .headers = headers,
        .segment = vnet.gso_size,
        .payload = payload,
    };
    return 1;
}

size_t packet_content(const uint8_t *packet, size_t length, uint32_t headers)
{
    struct virtio_net_hdr vnet;
    struct iphdr ip;
    struct tcphdr tcp;
    memcpy(&vnet, packet, VNET);
    if (headers) /* known, as of every packet that stands for several */
        return VNET + headers;
    if (!(vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || length < VNET + sizeof ip + sizeof tcp)
        return length;
    memcpy(&ip, packet + VNET, sizeof ip);
    if (ip.version != 4 || ip.protocol != IPPROTO_TCP || length < VNET + ip.ihl * 4u + sizeof tcp)
        return length;
    memcpy(&tcp, packet + VNET + ip.ihl * 4u, sizeof tcp);
    const size_t begin = VNET + ip.ihl * 4u + tcp.doff * 4u;
    return begin < length ? begin : length;
}

static uint32_t payload_until(const struct shape *shape, uint32_t segment)
{
    const uint64_t bytes = (uint64_t)segment * shape->segment;
    return bytes < shape->payload ? (uint32_t)bytes : shape->payload;
}

uint32_t packet_wire_bytes(const struct shape *shape, uint32_t first, uint32_t count)
{
    return count * shape->headers + payload_until(shape, first + count) - payload_until(shape, first);
}

size_t packet_cut(const uint8_t *packet, size_t length, const struct shape *shape, uint32_t first, uint32_t count, uint8_t *to)
{
    if (count == shape->segments) {
        memcpy(to, packet, length);
        return length;
    }
    const uint32_t begin = payload_until(shape, first), payload = payload_until(shape, first + count) - begin;
    memcpy(to, packet, VNET + shape->headers);
    memcpy(to + VNET + shape->headers, packet + VNET + shape->headers + begin, payload);

    struct virtio_net_hdr vnet;
    struct iphdr ip;
    struct tcphdr tcp;
    memcpy(&vnet, to, VNET);
    memcpy(&ip, to + VNET, sizeof ip);
    const uint32_t ip_header = ip.ihl * 4u;
    memcpy(&tcp, to + VNET + ip_header, sizeof tcp);

    ip.tot_len = htons((uint16_t)(shape->headers + payload));
    ip.id = htons((uint16_t)(ntohs(ip.id) + first));
    ip.check = 0;
    memcpy(to + VNET, &ip, sizeof ip);
    ip.check = htons((uint16_t)~folded(sum(to + VNET, ip_header, 0)));
    memcpy(to + VNET, &ip, sizeof ip);

    tcp.seq = htonl(ntohl(tcp.seq) + begin);
    if (first > 0)
        tcp.res2 &= 1; /* CWR (RFC 3168) is said once, with the first segment */
    if (first + count < shape->segments) {
        tcp.fin = 0;
        tcp.psh = 0;
    }
    /* The device finishes the checksum over what follows; until then the field holds the sum of the pseudo header, and the length is in it. */
    const uint32_t tcp_bytes = shape->headers - ip_header + payload;
    tcp.check = htons(folded(sum(&ip.saddr, 8, IPPROTO_TCP + tcp_bytes)));
    memcpy(to + VNET + ip_header, &tcp, sizeof tcp);

    if (count == 1) {
        vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        vnet.gso_size = 0;
    }
    memcpy(to, &vnet, VNET);
    return VNET + shape->headers + payload;
}
