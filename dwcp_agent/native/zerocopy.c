/* Into a socket without copies through this process. */
#define _GNU_SOURCE
#include "zerocopy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif
#ifndef SO_EE_ORIGIN_ZEROCOPY
#define SO_EE_ORIGIN_ZEROCOPY 5
#endif
#ifndef SO_EE_CODE_ZEROCOPY_COPIED
#define SO_EE_CODE_ZEROCOPY_COPIED 1
#endif

enum { COPY_BYTES = 256 << 10, PIPE_BYTES = 1 << 20 };

const char *const DWCP_VIA_NAMES[DWCP_VIAS] = {"sendfile", "splice", "copy"};

void dwcp_file_sender_init(dwcp_file_sender *sender, int first)
{
    memset(sender, 0, sizeof *sender);
    sender->by_size = sender->pipes_large = first == DWCP_VIA_BY_SIZE;
    sender->via = sender->by_size ? DWCP_VIA_SENDFILE : (dwcp_via)first;
    sender->pipe[0] = sender->pipe[1] = -1;
}

static void close_pipe(dwcp_file_sender *sender)
{
    for (int end = 0; end < 2; end++)
        if (sender->pipe[end] >= 0)
            close(sender->pipe[end]);
    sender->pipe[0] = sender->pipe[1] = -1;
    sender->in_pipe = 0;
}

void dwcp_file_sender_free(dwcp_file_sender *sender)
{
    close_pipe(sender);
    free(sender->buffer);
    sender->buffer = NULL;
}

static ssize_t by_sendfile(int socket, int file, off_t offset, size_t count)
{
    return sendfile(socket, file, &offset, count);
}

static ssize_t by_splice(dwcp_file_sender *sender, int socket, int file, off_t offset, size_t count)
{
    struct stat about;
    if (fstat(file, &about) != 0)
        return -1;
    if (sender->in_pipe && (sender->from != offset || sender->device != about.st_dev || sender->inode != about.st_ino))
        close_pipe(sender); /* the bytes in it are of another place: nobody asked for them now */
    if (sender->pipe[0] < 0) {
        if (pipe2(sender->pipe, O_CLOEXEC) != 0)
            return -1;
        /* Larger when the kernel lets us: fewer calls. A user with many pipes gets small ones, in which sendfile is better. */
        if (fcntl(sender->pipe[0], F_SETPIPE_SZ, PIPE_BYTES) < DWCP_SPLICE_FROM)
            sender->pipes_large = false;
    }
    if (sender->in_pipe == 0) {
        off_t from = offset;
        const ssize_t got = splice(file, &from, sender->pipe[1], NULL, count < PIPE_BYTES ? count : PIPE_BYTES, SPLICE_F_MOVE);
        if (got <= 0)
            return got;
        sender->in_pipe = (size_t)got;
        sender->from = offset;
        sender->device = about.st_dev;
        sender->inode = about.st_ino;
    }
    /* Never more than was asked for now: what a larger request left in the pipe stays for the next. */
    const size_t most = sender->in_pipe < count ? sender->in_pipe : count;
    const ssize_t sent = splice(sender->pipe[0], NULL, socket, NULL, most, SPLICE_F_MOVE | (most < count ? SPLICE_F_MORE : 0));
    if (sent > 0) {
        sender->in_pipe -= (size_t)sent;
        sender->from += sent;
    }
    return sent;
}

static ssize_t by_copy(dwcp_file_sender *sender, int socket, int file, off_t offset, size_t count)
{
    if (!sender->buffer && !(sender->buffer = malloc(COPY_BYTES))) {
        errno = ENOMEM;
        return -1;
    }
    const ssize_t got = pread(file, sender->buffer, count < COPY_BYTES ? count : COPY_BYTES, offset);
    if (got <= 0)
        return got;
    /* What does not enter the socket is read again: it is in the page cache. */
    return send(socket, sender->buffer, (size_t)got, MSG_NOSIGNAL);
}

/* True when the error says that this way does not exist here, rather than that the connection or the file is broken. */
static bool not_this_way(int code)
{
    return code == EINVAL || code == ENOSYS || code == EOPNOTSUPP;
}

ssize_t dwcp_file_sender_send(dwcp_file_sender *sender, int socket, int file, off_t *offset, size_t count)
{
    if (sender->by_size) {
        /* What lies in the pipe for this very place goes that way, however little is left. */
        const bool begun = sender->in_pipe && sender->from == *offset;
        sender->via = sender->pipes_large && (begun || count >= DWCP_SPLICE_FROM) ? DWCP_VIA_SPLICE : DWCP_VIA_SENDFILE;
    }
    for (;;) {
        ssize_t sent = -1;
        switch (sender->via) {
        case DWCP_VIA_SENDFILE:
            sent = by_sendfile(socket, file, *offset, count);
            break;
        case DWCP_VIA_SPLICE:
            sent = by_splice(sender, socket, file, *offset, count);
            break;
        default:
            sent = by_copy(sender, socket, file, *offset, count);
            break;
        }
        if (sent > 0) {
            sender->moved[sender->via] += (uint64_t)sent;
            *offset += sent;
            return sent;
        }
        if (sent == 0)
            return 0;
        /* Without a descriptor to spare there is no pipe: sendfile needs none. */
        const bool no_pipe = sender->by_size && sender->via == DWCP_VIA_SPLICE && (errno == EMFILE || errno == ENFILE);
        if (sender->via >= DWCP_VIA_COPY || (!no_pipe && !not_this_way(errno)))
            return -1;
        /* Bytes in the pipe are still in the file: the next way begins where the socket stands. */
        close_pipe(sender);
        if (no_pipe) {
            sender->via = DWCP_VIA_SENDFILE;
            continue;
        }
        sender->via = sender->by_size && sender->via == DWCP_VIA_SPLICE ? DWCP_VIA_SENDFILE : sender->via + 1;
        sender->by_size = false;
    }
}

/* ---- MSG_ZEROCOPY ---- */
void dwcp_zerocopy_init(dwcp_zerocopy *sender, int socket, bool wanted)
{
    const int on = 1;
    memset(sender, 0, sizeof *sender);
    sender->socket = socket;
    sender->on = wanted && setsockopt(socket, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0;
}

ssize_t dwcp_zerocopy_send(dwcp_zerocopy *sender, const void *data, size_t length)
{
    if (sender->on) {
        const ssize_t sent = send(sender->socket, data, length, MSG_NOSIGNAL | MSG_ZEROCOPY);
        if (sent > 0) {
            sender->outstanding++;
            return sent;
        }
        /* Too many pages are pinned already (ENOBUFS): this one is copied. */
        if (sent == 0 || errno != ENOBUFS)
            return sent;
    }
    const ssize_t sent = send(sender->socket, data, length, MSG_NOSIGNAL);
    if (sent > 0)
        sender->plain++;
    return sent;
}

/* One notice: a range of sends the kernel is done with. 0 when there is none, -1 with errno. */
static int one_notice(dwcp_zerocopy *sender)
{
    char control[128];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(sender->socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        const bool of_ip = part->cmsg_level == SOL_IP && part->cmsg_type == IP_RECVERR;
        const bool of_ipv6 = part->cmsg_level == SOL_IPV6 && part->cmsg_type == IPV6_RECVERR;
        if (!of_ip && !of_ipv6)
            continue;
        struct sock_extended_err said;
        memcpy(&said, CMSG_DATA(part), sizeof said);
        if (said.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
            continue;
        const uint32_t sends = said.ee_data - said.ee_info + 1; /* both ends belong to it; the numbers wrap */
        sender->outstanding -= sends;
        sender->completed += sends;
        if (said.ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
            sender->copied += sends;
    }
    /* Where the kernel copies every time (as between two ends of a veth) its bookkeeping is pure loss. */
    if (sender->on && sender->completed >= DWCP_ZEROCOPY_TRIAL && sender->copied == sender->completed)
        sender->on = false;
    return 1;
}

int dwcp_zerocopy_reap(dwcp_zerocopy *sender, int timeout_ms)
{
    int noticed = one_notice(sender);
    if (noticed == 0 && sender->outstanding && timeout_ms != 0) {
        /* Notices make the socket "in error", which poll always tells. */
        struct pollfd waiting = {.fd = sender->socket, .events = 0};
        if (poll(&waiting, 1, timeout_ms) < 0 && errno != EINTR)
            return -1;
        noticed = one_notice(sender);
    }
    while (noticed > 0)
        noticed = one_notice(sender);
    return noticed;
}
