/* Many small messages in few system calls. */
#define _GNU_SOURCE
#include "batch.h"

#include <limits.h>
#include <sys/socket.h>

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

static void pass(struct iovec **parts, size_t *count, size_t bytes)
{
    while (*count && bytes >= (*parts)->iov_len) {
        bytes -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (*count) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + bytes;
        (*parts)->iov_len -= bytes;
    }
}

ssize_t dwcp_send_some(int socket, struct iovec **parts, size_t *count)
{
    pass(parts, count, 0);
    if (*count == 0)
        return 0;
    struct msghdr message = {.msg_iov = *parts, .msg_iovlen = *count < IOV_MAX ? *count : IOV_MAX};
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent > 0)
        pass(parts, count, (size_t)sent);
    return sent;
}
