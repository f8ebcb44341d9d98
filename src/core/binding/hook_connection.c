/* hook_connection.c - sockets are made, connected, accepted, and told how to behave.
 *
 * Two calls cannot be asked not to block.
 *
 * connect: the socket is usually fresh and nobody else's, so for the time of the call it is made non-blocking.
 *
 * accept: we look first, and make the real call when a connection waits.  But the sibling of a pre-fork server, or
 * another OS thread, may take it in between, and the real call would wait for the next.  So unless the
 * listener is known to be ours alone, an OS thread makes the real call.
 */
#include "hook.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

static int (*real_accept)(int, struct sockaddr *, socklen_t *);
static int (*real_accept4)(int, struct sockaddr *, socklen_t *, int);
static int (*real_connect)(int, const struct sockaddr *, socklen_t);
static int (*real_socket)(int, int, int);
static int (*real_shutdown)(int, int);
static int (*real_setsockopt)(int, int, int, const void *, socklen_t);

/* {=== accept ===} */

static bool connection_waits(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, 0) != 0; /* an error is for the real call to tell */
}

static bool is_non_blocking(int fd)
{
    return fcntl(fd, F_GETFL) & O_NONBLOCK; /* an error is for the real call to tell */
}

static int take_connection(const struct wf_io *io, struct sockaddr *addr, socklen_t *len, int flags)
{
    if (wf_likely(!wf_io_may_be_shared(io)) || is_non_blocking(io->fd))
        return real_accept4(io->fd, addr, len, flags);
    return (int)wf_offload(io->worker, WF_OFFLOAD_INTERRUPTIBLE, real_accept4, io->fd, (long)addr,
                           (long)len, flags);
}

static int receive_connection(struct wf_worker *worker, int fd, struct sockaddr *addr,
                              socklen_t *len, int flags)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_READ);

    while (!connection_waits(fd))
        if (!wf_io_wait(&io))
            return -1;
    fd = take_connection(&io, addr, len, flags);
    if (fd >= 0) {
        wf_io_opened(worker, fd, wf_io_is_tcp(&io), false);
        wf_ready_call(worker);
    }
    return fd;
}

/* An OS thread without a worker is not counted among them, and may be after the same connections. */
static inline void note_accepter(void)
{
    if (wf_this_worker == NULL && wf_worker_count() > 0)
        wf_io_shared();
}

static int hook_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    struct wf_worker *worker = wf_hook_worker();

    note_accepter();
    return worker == NULL ? real_accept(fd, addr, len)
                          : receive_connection(worker, fd, addr, len, 0);
}

static int hook_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    note_accepter();
    return worker == NULL ? real_accept4(fd, addr, len, flags)
                          : receive_connection(worker, fd, addr, len, flags);
}

/* {=== connect ===} */

static int connect_without_waiting(int fd, const struct sockaddr *addr, socklen_t len, int flags)
{
    int result, error;

    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    result = real_connect(fd, addr, len);
    error = errno;
    fcntl(fd, F_SETFL, flags);
    errno = error;
    return result;
}

/* The connection is under way; waits for how it ends. */
static int await_connection(struct wf_io *io)
{
    struct pollfd pollfd = {.fd = io->fd, .events = POLLOUT};
    int error;
    socklen_t len = sizeof error;

    while (poll(&pollfd, 1, 0) == 0)
        if (!wf_io_wait(io)) {
            if (errno == EAGAIN)
                errno = EINPROGRESS; /* what SO_SNDTIMEO gives */
            return -1;
        }
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -1;
    errno = error;
    return error == 0 ? 0 : -1;
}

static int make_connection(struct wf_worker *worker, int fd, const struct sockaddr *addr,
                           socklen_t len, int flags)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_CONNECT);
    int error = errno;

    for (;;) {
        if (connect_without_waiting(fd, addr, len, flags) == 0)
            break;
        if (errno == EINPROGRESS) {
            if (await_connection(&io) < 0)
                return -1;
            break;
        }
        /* AF_UNIX: the listener's backlog is full. */
        if (errno != EAGAIN || !wf_io_back_off(&io))
            return -1;
    }
    errno = error;
    return 0;
}

static int hook_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct wf_worker *worker = wf_hook_worker();
    int flags;

    if (worker == NULL)
        return real_connect(fd, addr, len);
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK))
        return real_connect(fd, addr, len);
    return make_connection(worker, fd, addr, len, flags);
}

/* {=== Making sockets and changing them ===} */

static int hook_socket(int domain, int type, int protocol)
{
    int fd = real_socket(domain, type, protocol);
    struct wf_worker *worker = wf_this_worker;

    if (fd >= 0 && worker != NULL)
        wf_io_opened(worker, fd,
                     (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM
                         && (protocol == 0 || protocol == IPPROTO_TCP),
                     type & SOCK_CLOEXEC);
    return fd;
}

/* A reader of our own shut-down socket must see the end, not rely on a guess. */
static void stop_guessing(int fd)
{
    struct wf_fd *file = wf_this_worker ? wf_reactor_fd(&wf_this_worker->reactor, fd) : NULL;

    if (file != NULL) {
        file->drained = false;
        file->unguessable = true;
    }
}

static int hook_shutdown(int fd, int how)
{
    stop_guessing(fd);
    return real_shutdown(fd, how);
}

/* Has anybody ever asked a close to wait for what was sent?  Hardly anybody does, and close need not ask. */
static atomic_bool lingering;

bool wf_socket_lingers(int fd)
{
    struct linger linger;
    socklen_t len = sizeof linger;

    return wf_unlikely(atomic_load_explicit(&lingering, memory_order_relaxed))
           && getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff
           && linger.l_linger > 0;
}

static int hook_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && (option == SO_RCVTIMEO || option == SO_SNDTIMEO))
        wf_io_mode_changed();
    if (level == SOL_SOCKET && option == SO_LINGER)
        atomic_store_explicit(&lingering, true, memory_order_relaxed);
    /* These make a read short though more is there: kernel TLS gives a record at a time. */
    if (level == IPPROTO_TCP && option == TCP_ULP)
        stop_guessing(fd);
    return real_setsockopt(fd, level, option, value, len);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(accept, WF_HOOK_ALL),
    WF_HOOK(accept4, WF_HOOK_ALL),
    WF_HOOK(connect, WF_HOOK_ALL),
    WF_HOOK(socket, WF_HOOK_ALL),
    WF_HOOK(shutdown, WF_HOOK_ALL),
    WF_HOOK(setsockopt, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(connection);
