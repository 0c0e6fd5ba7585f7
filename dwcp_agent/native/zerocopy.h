/*
 * Moving bytes into a socket without copying them through this process, where the kernel and the socket allow it, and with a copy where
 * they do not. Which way ran is always known.
 */
#ifndef DWCP_ZEROCOPY_H
#define DWCP_ZEROCOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- a file ---- */
typedef enum { DWCP_VIA_SENDFILE, DWCP_VIA_SPLICE, DWCP_VIA_COPY, DWCP_VIAS } dwcp_via;

enum {
    DWCP_VIA_BY_SIZE = DWCP_VIAS,    /* splice for requests of at least */
    DWCP_SPLICE_FROM = 256 << 10,    /* these bytes, whose pipe is filled in one call; sendfile below */
};

typedef struct {
    dwcp_via via;      /* the way that is gone now, or was by the last request */
    bool by_size;      /* each request chooses, */
    bool pipes_large;  /* enough for splice to pay */
    int pipe[2];       /* of splice; -1 when there is none */
    size_t in_pipe;    /* bytes that have left the file and not yet entered the socket, */
    off_t from;        /* from this offset on */
    dev_t device;      /* of this file */
    ino_t inode;
    uint8_t *buffer;   /* of copy */
    uint64_t moved[DWCP_VIAS]; /* bytes, by way */
} dwcp_file_sender;

extern const char *const DWCP_VIA_NAMES[DWCP_VIAS];

/* Begins with `first`, one of the ways or DWCP_VIA_BY_SIZE; what a socket or a file does not allow is left for the next. */
void dwcp_file_sender_init(dwcp_file_sender *sender, int first);
void dwcp_file_sender_free(dwcp_file_sender *sender);
/*
 * Sends up to `count` bytes of `file` from `*offset` on and moves `*offset` by what entered the socket; returns how much. 0 at the end of
 * the file, -1 with errno: EAGAIN when the socket takes nothing now, EINTR when a signal came first. What the socket did not take is sent by
 * a later call for the same place; one for another place or another file sends that, and only that. SIGPIPE is to be ignored.
 */
ssize_t dwcp_file_sender_send(dwcp_file_sender *sender, int socket, int file, off_t *offset, size_t count);

/* ---- memory ---- */
typedef struct {
    int socket;
    bool on;              /* MSG_ZEROCOPY is used */
    uint32_t outstanding; /* sends whose memory the kernel still reads */
    uint64_t completed;   /* sends the kernel is done with */
    uint64_t copied;      /* of those, the ones it copied after all */
    uint64_t plain;       /* sends without it */
} dwcp_zerocopy;

enum { DWCP_ZEROCOPY_TRIAL = 16 }; /* completions after which it is given up when every one of them was a copy */

/* Asks the socket for it; where it says no, sends are plain. */
void dwcp_zerocopy_init(dwcp_zerocopy *sender, int socket, bool wanted);
/* Like send(2) without SIGPIPE. Memory must stay as it is until `outstanding` is 0. */
ssize_t dwcp_zerocopy_send(dwcp_zerocopy *sender, const void *data, size_t length);
/* Takes what the kernel says it is done with, waiting up to `timeout_ms` for something (-1: for ever). 0, or -1 with errno. */
int dwcp_zerocopy_reap(dwcp_zerocopy *sender, int timeout_ms);

#endif
