/* Many small messages in few system calls. */
#ifndef DWCP_BATCH_H
#define DWCP_BATCH_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * Sends all of `parts` in order, as many a call as the kernel takes; changes them. Returns the bytes that went in: all, unless the socket
 * takes nothing more now (EAGAIN) after some; -1 with errno when none went in.
 */
ssize_t dwcp_send_many(int socket, struct iovec *parts, size_t count);

#endif
