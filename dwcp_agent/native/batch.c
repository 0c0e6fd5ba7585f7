/* Many small messages in few system calls. */
#define _GNU_SOURCE
#include "batch.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

ssize_t dwcp_send_many(int socket, struct iovec *parts, size_t count)
{
    ssize_t total = 0;
    size_t first = 0;
    while (first < count && parts[first].iov_len == 0)
        first++;
    while (first < count) {
        struct msghdr message = {.msg_iov = parts + first, .msg_iovlen = count - first < IOV_MAX ? count - first : IOV_MAX};
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return total ? total : -1;
        total += sent;
        /* What went in only in part goes on where it stopped. */
        while (first < count && (size_t)sent >= parts[first].iov_len) {
            sent -= (ssize_t)parts[first].iov_len;
            first++;
        }
        if (first < count) {
            parts[first].iov_base = (char *)parts[first].iov_base + sent;
            parts[first].iov_len -= (size_t)sent;
        }
    }
    return total;
}
