/* Many small messages in few system calls. */
#ifndef DWCP_BATCH_H
#define DWCP_BATCH_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * Sends of the `*count` parts from `*parts` on, in order, as many as one call takes, and moves both past what went in: parts that are empty
 * are passed over, one that went in only in part begins where it stopped. Returns the bytes that went in, or -1 with errno (EINTR too: the
 * caller may want to end).
 */
ssize_t dwcp_send_some(int socket, struct iovec **parts, size_t *count);

#endif
