/*
 * Bytes into a TCP connection, by what the sender's processor time buys.
 *
 *     sends listen ADDRESS PORT                              says its port (0: any), takes connections, drops what comes
 *     sends WAY ADDRESS PORT FILE CHUNK BYTES                WAY: sendfile, splice, copy, by-size, zerocopy; or the peer: readsend
 *
 * Sends BYTES of FILE, over and over from its beginning, in requests of CHUNK bytes; prints bytes per second of processor time (user and
 * system), bytes per second of wall time, and the way that was gone at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "zerocopy.h"

static int connection(bool listening, const char *address, const char *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    const int on = 1, made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
        exit(2);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listening ? bind(made, (struct sockaddr *)&name, sizeof name) != 0 || listen(made, 16) != 0
                  : connect(made, (struct sockaddr *)&name, sizeof name) != 0) {
        perror(listening ? "listen" : "connect");
        exit(2);
    }
    return made;
}

static void drop_everything(const char *address, const char *port)
{
    const int listener = connection(true, address, port);
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    if (getsockname(listener, (struct sockaddr *)&name, &length) != 0)
        exit(2);
    printf("listening %u\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        const int from = accept(listener, NULL, NULL);
        /* Truncated: nothing is copied to this side, whose time is not measured. */
        while (from >= 0 && recv(from, NULL, 4 << 20, MSG_TRUNC) > 0)
            ;
        close(from);
    }
}

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void whole(int to, const char *data, size_t length)
{
    while (length) {
        const ssize_t sent = send(to, data, length, MSG_NOSIGNAL);
        if (sent <= 0)
            exit(2);
        data += sent;
        length -= (size_t)sent;
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "listen") == 0)
        drop_everything(argv[2], argv[3]);
    if (argc != 7) {
        fprintf(stderr, "sends listen ADDRESS PORT | sends WAY ADDRESS PORT FILE CHUNK BYTES\n");
        return 2;
    }
    const char *way = argv[1];
    const size_t chunk = strtoul(argv[5], NULL, 10), bytes = strtoul(argv[6], NULL, 10);
    const int to = connection(false, argv[2], argv[3]), file = open(argv[4], O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0 || about.st_size < (off_t)chunk || chunk == 0)
        return 2;
    char *buffer = malloc(chunk);
    const char *mapped = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (!buffer || mapped == MAP_FAILED)
        return 2;
    int first = -1;
    for (int via = 0; via < DWCP_VIAS; via++)
        if (strcmp(DWCP_VIA_NAMES[via], way) == 0)
            first = via;
    if (strcmp(way, "by-size") == 0)
        first = DWCP_VIA_BY_SIZE;
    const bool zero = strcmp(way, "zerocopy") == 0, plain = strcmp(way, "readsend") == 0;
    if (first < 0 && !zero && !plain)
        return 2;
    dwcp_file_sender sender;
    dwcp_file_sender_init(&sender, first < 0 ? DWCP_VIA_COPY : first);
    dwcp_zerocopy memory;
    dwcp_zerocopy_init(&memory, to, zero);

    struct timespec began, ended;
    struct rusage before, after;
    clock_gettime(CLOCK_MONOTONIC, &began);
    getrusage(RUSAGE_SELF, &before);
    off_t offset = 0;
    for (size_t done = 0; done < bytes; done += chunk) {
        if (offset + (off_t)chunk > about.st_size)
            offset = 0;
        if (plain) {
            if (pread(file, buffer, chunk, offset) != (ssize_t)chunk)
                return 2;
            whole(to, buffer, chunk);
            offset += (off_t)chunk;
        } else if (zero) {
            for (size_t left = chunk; left;) {
                const ssize_t sent = dwcp_zerocopy_send(&memory, mapped + offset, left);
                if (sent <= 0)
                    return 2;
                left -= (size_t)sent;
                offset += sent;
                dwcp_zerocopy_reap(&memory, memory.outstanding > 256 ? 100 : 0);
            }
        } else {
            for (size_t left = chunk; left;) {
                const ssize_t sent = dwcp_file_sender_send(&sender, to, file, &offset, left);
                if (sent <= 0)
                    return 2;
                left -= (size_t)sent;
            }
        }
    }
    while (memory.outstanding && dwcp_zerocopy_reap(&memory, 1000) == 0)
        ;
    getrusage(RUSAGE_SELF, &after);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    const double wall = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    const double busy = seconds(&after.ru_utime) + seconds(&after.ru_stime) - seconds(&before.ru_utime) - seconds(&before.ru_stime);
    printf("{\"per_busy_s\": %.0f, \"per_s\": %.0f, \"way\": \"%s\"}\n", (double)bytes / busy, (double)bytes / wall,
           plain ? "readsend" : zero ? (memory.on ? "zerocopy" : "send") : DWCP_VIA_NAMES[sender.via]);
    return 0;
}
