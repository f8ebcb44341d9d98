/* hook_socket.c - recv, send and their kin; io.h has the shape they share.
 *
 * Sockets can be asked per call not to block (MSG_DONTWAIT), so the flags of the file are left alone.
 */
#include "hook.h"
#include "io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static ssize_t (*real_recv)(int, void *, size_t, int);
static ssize_t (*real_recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
static ssize_t (*real_recvmsg)(int, struct msghdr *, int);
static int (*real_recvmmsg)(int, struct mmsghdr *, unsigned, int, struct timespec *);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);
static int (*real_sendmmsg)(int, struct mmsghdr *, unsigned, int);
static ssize_t (*real___recv_chk)(int, void *, size_t, size_t, int);
static ssize_t (*real___recvfrom_chk)(int, void *, size_t, size_t, int, struct sockaddr *,
                                      socklen_t *);

static inline bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* {=== Messages and their vectors ===} */

#define FEW 16

/* What is left of a message after `count` bytes; control data goes with the first byte. */
static void message_advance(struct msghdr *msg, size_t count)
{
    msg->msg_control = NULL;
    msg->msg_controllen = 0;
    while (msg->msg_iovlen > 0 && count >= msg->msg_iov->iov_len) {
        count -= msg->msg_iov->iov_len;
        msg->msg_iov++;
        msg->msg_iovlen--;
    }
    if (msg->msg_iovlen > 0) {
        msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + count;
        msg->msg_iov->iov_len -= count;
    }
}

static size_t message_len(const struct msghdr *msg)
{
    size_t len = 0;

    for (size_t i = 0; i < msg->msg_iovlen; i++)
        len += msg->msg_iov[i].iov_len;
    return len;
}

/* A copy of the message's vector that may be shortened: `few` if it fits, else to be freed; NULL: no memory. */
static struct iovec *copy_vector(const struct msghdr *msg, struct iovec few[FEW])
{
    struct iovec *iov = msg->msg_iovlen <= FEW ? few : malloc(msg->msg_iovlen * sizeof *iov);

    if (iov != NULL && msg->msg_iovlen > 0)
        memcpy(iov, msg->msg_iov, msg->msg_iovlen * sizeof *iov);
    return iov;
}

/* {=== Receiving ===} */

/* Only a read without special wishes tells whether the socket is drained. */
static inline bool plain(int flags)
{
    return (flags & ~(MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) == 0;
}

/* One try; *tried is false if we know that nothing is there. */
static inline ssize_t try_recv(const struct wf_io *io, void *buf, size_t len, int flags,
                               struct sockaddr *from, socklen_t *from_len)
{
    ssize_t got;

    if (plain(flags) && wf_io_known_empty(io)) {
        errno = EAGAIN;
        return -1;
    }
    got = from == NULL ? real_recv(io->fd, buf, len, flags | MSG_DONTWAIT)
                       : real_recvfrom(io->fd, buf, len, flags | MSG_DONTWAIT, from, from_len);
    if (plain(flags))
        wf_io_note_read(io, got, len);
    return got;
}

/* MSG_WAITALL on a stream: pieces until all is there, or the end, or an error. */
static bool wants_more(int flags, ssize_t got, size_t left)
{
    return (flags & MSG_WAITALL) && !(flags & MSG_PEEK) && got > 0 && (size_t)got < left;
}

static ssize_t receive(struct wf_worker *worker, int fd, void *buf, size_t len, int flags,
                       struct sockaddr *from, socklen_t *from_len)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_READ);
    int error = errno;
    size_t done = 0;

    for (;;) {
        ssize_t got = try_recv(&io, (char *)buf + done, len - done, flags, from, from_len);
        if (wants_more(flags, got, len - done)) {
            done += (size_t)got;
        } else if (got >= 0) {
            wf_ready_call(worker);
            errno = error;
            return (ssize_t)done + got;
        } else if (!would_block() || !wf_io_wait(&io)) {
            return done > 0 ? (ssize_t)done : -1;
        }
    }
}

static ssize_t hook_recv(int fd, void *buf, size_t len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE)))
        return real_recv(fd, buf, len, flags);
    return receive(worker, fd, buf, len, flags, NULL, NULL);
}

static ssize_t hook_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
                             socklen_t *from_len)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE)))
        return real_recvfrom(fd, buf, len, flags, from, from_len);
    return receive(worker, fd, buf, len, flags, from, from_len);
}

/* The fortified variants check the buffer's size and then do the same. */
static ssize_t hook___recv_chk(int fd, void *buf, size_t len, size_t size, int flags)
{
    if (len > size)
        return real___recv_chk(fd, buf, len, size, flags);
    return hook_recv(fd, buf, len, flags);
}

static ssize_t hook___recvfrom_chk(int fd, void *buf, size_t len, size_t size, int flags,
                                   struct sockaddr *from, socklen_t *from_len)
{
    if (len > size)
        return real___recvfrom_chk(fd, buf, len, size, flags, from, from_len);
    return hook_recvfrom(fd, buf, len, flags, from, from_len);
}

/* One message, or with MSG_WAITALL the first piece of one. */
static ssize_t receive_message(struct wf_io *io, struct msghdr *msg, int flags)
{
    /* The kernel shortens these even when it finds nothing. */
    socklen_t name_len = msg->msg_namelen;
    size_t control_len = msg->msg_controllen;

    do {
        ssize_t got;
        msg->msg_namelen = name_len;
        msg->msg_controllen = control_len;
        got = real_recvmsg(io->fd, msg, flags | MSG_DONTWAIT);
        if (got >= 0 || !would_block())
            return got;
    } while (wf_io_wait(io));
    return -1;
}

/* The rest of a message of which `got` bytes are there, for MSG_WAITALL: pieces until all is there, or the end, or
 * an error. */
static ssize_t receive_rest(struct wf_io *io, const struct msghdr *msg, int flags, ssize_t got)
{
    struct iovec few[FEW], *iov = copy_vector(msg, few);
    struct msghdr rest = {.msg_iov = iov, .msg_iovlen = msg->msg_iovlen};
    ssize_t piece = got;

    if (iov == NULL)
        return got;
    while (message_advance(&rest, (size_t)piece), rest.msg_iovlen > 0) {
        piece = receive_message(io, &rest, flags & ~MSG_WAITALL);
        if (piece <= 0)
            break;
        got += piece;
    }
    if (iov != few)
        free(iov);
    return got;
}

static ssize_t hook_recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    struct wf_io io;
    int error = errno;
    ssize_t got;

    if (worker == NULL || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE)))
        return real_recvmsg(fd, msg, flags);
    io = wf_io_begin(worker, fd, WF_IO_READ);
    got = receive_message(&io, msg, flags);
    if (got < 0)
        return -1;
    if (wants_more(flags, got, message_len(msg)))
        got = receive_rest(&io, msg, flags, got);
    wf_ready_call(worker);
    errno = error;
    return got;
}

/* Blocks until all are there, or one with MSG_WAITFORONE.  As in the kernel the timeout is looked at when something has
 * come, and only then. */
static unsigned receive_messages(struct wf_io *io, struct mmsghdr *msgs, unsigned count, int flags,
                                 int64_t deadline_ns)
{
    unsigned done = 0;

    do {
        int got = real_recvmmsg(io->fd, msgs + done, count - done, flags | MSG_DONTWAIT, NULL);
        if (got < 0 && !would_block())
            break;
        if (got > 0) {
            done += (unsigned)got;
            if (done == count || (flags & MSG_WAITFORONE) || wf_now_ns() >= deadline_ns)
                break;
        }
    } while (wf_io_wait(io));
    return done;
}

static struct timespec time_left(int64_t deadline_ns)
{
    int64_t left = deadline_ns - wf_now_ns();

    if (left < 0)
        left = 0;
    return (struct timespec){left / WF_NS_PER_S, left % WF_NS_PER_S};
}

static bool valid(const struct timespec *timeout)
{
    return timeout == NULL
           || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < WF_NS_PER_S);
}

static int hook_recvmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags,
                         struct timespec *timeout)
{
    struct wf_worker *worker = wf_hook_worker();
    int64_t deadline_ns = WF_NEVER;
    int error = errno;
    struct wf_io io;
    unsigned done;

    if (worker == NULL || count == 0 || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE)) || !valid(timeout))
        return real_recvmmsg(fd, msgs, count, flags, timeout);
    if (timeout != NULL)
        deadline_ns = wf_deadline(wf_timespec_ns(timeout));
    io = wf_io_begin(worker, fd, WF_IO_READ);
    done = receive_messages(&io, msgs, count, flags, deadline_ns);
    if (done == 0)
        return -1;
    if (timeout != NULL)
        *timeout = time_left(deadline_ns);
    errno = error;
    return (int)done;
}

/* {=== Sending: a blocking send returns when all is sent ===} */

static ssize_t transmit(struct wf_worker *worker, int fd, const void *buf, size_t len, int flags,
                        const struct sockaddr *to, socklen_t to_len)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_WRITE);
    int error = errno;
    size_t done = 0;

    for (;;) {
        ssize_t sent = to == NULL
            ? real_send(fd, (const char *)buf + done, len - done, flags | MSG_DONTWAIT)
            : real_sendto(fd, (const char *)buf + done, len - done, flags | MSG_DONTWAIT, to, to_len);
        if (sent < 0) {
            if (!would_block() || !wf_io_wait(&io))
                return done > 0 ? (ssize_t)done : -1;
            continue;
        }
        done += (size_t)sent;
        if (done >= len) {
            wf_ready_call(worker);
            errno = error;
            return (ssize_t)done;
        }
    }
}

static ssize_t hook_send(int fd, const void *buf, size_t len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & MSG_DONTWAIT))
        return real_send(fd, buf, len, flags);
    return transmit(worker, fd, buf, len, flags, NULL, 0);
}

static ssize_t hook_sendto(int fd, const void *buf, size_t len, int flags,
                           const struct sockaddr *to, socklen_t to_len)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & MSG_DONTWAIT))
        return real_sendto(fd, buf, len, flags, to, to_len);
    return transmit(worker, fd, buf, len, flags, to, to_len);
}

/* `rest` is a copy we may shorten. */
static ssize_t transmit_message(struct wf_worker *worker, int fd, struct msghdr *rest, int flags)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_WRITE);
    size_t len = message_len(rest), done = 0;

    for (;;) {
        ssize_t sent = real_sendmsg(fd, rest, flags | MSG_DONTWAIT);
        if (sent >= 0) {
            done += (size_t)sent;
            if (done >= len)
                return (ssize_t)done;
            message_advance(rest, (size_t)sent);
        } else if (!would_block() || !wf_io_wait(&io)) {
            return done > 0 ? (ssize_t)done : -1;
        }
    }
}

static ssize_t hook_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    struct iovec few[FEW], *iov;
    struct msghdr rest;
    int error = errno;
    ssize_t sent;

    if (msg->msg_controllen > 0)
        wf_io_shared(); /* it may be descriptors that are sent */
    if (worker == NULL || (flags & MSG_DONTWAIT))
        return real_sendmsg(fd, msg, flags);
    rest = *msg;
    rest.msg_iov = iov = copy_vector(msg, few);
    if (iov == NULL)
        return -1;
    sent = transmit_message(worker, fd, &rest, flags);
    if (sent >= 0)
        errno = error;
    if (iov != few)
        free(iov);
    return sent;
}

static int hook_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
    unsigned done;

    if (wf_hook_worker() == NULL || (flags & MSG_DONTWAIT))
        return real_sendmmsg(fd, msgs, count, flags);
    for (done = 0; done < count; done++) {
        ssize_t sent = hook_sendmsg(fd, &msgs[done].msg_hdr, flags);
        if (sent < 0)
            return done > 0 ? (int)done : -1;
        msgs[done].msg_len = (unsigned)sent;
    }
    return (int)done;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(recv, WF_HOOK_ALL),
    WF_HOOK(recvfrom, WF_HOOK_ALL),
    WF_HOOK(__recv_chk, WF_HOOK_ALL),
    WF_HOOK(__recvfrom_chk, WF_HOOK_ALL),
    WF_HOOK(recvmsg, WF_HOOK_ALL),
    WF_HOOK(recvmmsg, WF_HOOK_ALL),
    WF_HOOK(send, WF_HOOK_ALL),
    WF_HOOK(sendto, WF_HOOK_ALL),
    WF_HOOK(sendmsg, WF_HOOK_ALL),
    WF_HOOK(sendmmsg, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(socket);
