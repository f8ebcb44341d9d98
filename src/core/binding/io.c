/* io.c - waiting for one descriptor; io.h has the idea. */
#include "io.h"

#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* For what gives no event (a full AF_UNIX backlog, a full datagram queue of the peer). */
#define BACK_OFF_NS WF_NS_PER_MS

_Atomic uint32_t wf_io_mode_epoch = 1;

/* Changes whenever some open file may have come into other hands. */
static _Atomic uint32_t share_epoch = 1;

static void next_epoch(_Atomic uint32_t *epoch)
{
    if (atomic_fetch_add(epoch, 1) == UINT32_MAX)
        atomic_store(epoch, 1); /* 0 is what a forgotten file has */
}

void wf_io_mode_changed(void)
{
    next_epoch(&wf_io_mode_epoch);
}

/* {=== How the user wants the file to block ===} */

/* A socket option's timeout in nanoseconds; 0: none, or no socket. */
static int64_t socket_timeout_ns(int fd, int option)
{
    struct timeval tv;
    socklen_t len = sizeof tv;

    if (getsockopt(fd, SOL_SOCKET, option, &tv, &len) < 0)
        return 0;
    return (int64_t)tv.tv_sec * WF_NS_PER_S + (int64_t)tv.tv_usec * 1000;
}

/* May we wait, and until when?  False with errno. */
static bool ask_mode(struct wf_io *io)
{
    uint32_t epoch = atomic_load(&wf_io_mode_epoch);
    int64_t receive_ns, send_ns, timeout_ns;
    int flags;

    if (io->deadline_ns != 0)
        return true;
    if (wf_io_known_plain(io)) {
        io->deadline_ns = WF_NEVER;
        return true;
    }
    flags = fcntl(io->fd, F_GETFL);
    if (flags < 0)
        return false;
    if (flags & O_NONBLOCK) {
        errno = EAGAIN;
        return false;
    }
    receive_ns = socket_timeout_ns(io->fd, SO_RCVTIMEO);
    send_ns = socket_timeout_ns(io->fd, SO_SNDTIMEO);
    if (receive_ns == 0 && send_ns == 0 && io->file != NULL)
        io->file->mode_epoch = epoch;
    timeout_ns = io->direction == WF_IO_READ ? receive_ns : send_ns;
    io->deadline_ns = timeout_ns == 0 ? WF_NEVER : wf_deadline(timeout_ns);
    return true;
}

/* {=== Waiting ===} */

static bool outcome(struct wf_worker *worker, enum wf_wake wake, bool closed)
{
    if (wf_unlikely(closed))
        errno = EBADF;
    else if (wake == WF_TIMED_OUT)
        errno = EAGAIN;
    else if (wake == WF_INTERRUPTED)
        errno = wf_interrupt_errno(worker);
    else
        return true;
    return false;
}

bool wf_io_back_off(struct wf_io *io)
{
    int64_t deadline = wf_deadline(BACK_OFF_NS);
    enum wf_wake wake;

    if (!ask_mode(io))
        return false;
    if (deadline >= io->deadline_ns)
        deadline = io->deadline_ns;
    wf_park_begin(io->worker);
    io->worker->current->awaited = io->fd;
    io->worker->outside++;
    wake = wf_park(io->worker, WF_PARK_BACKOFF, deadline);
    io->worker->outside--;
    if (wake == WF_TIMED_OUT && deadline != io->deadline_ns)
        return true;
    return outcome(io->worker, wake, false);
}

/* A datagram socket may refuse to send though it is writable: the peer's queue is full.  No edge will tell. */
static bool refuses_though_ready(const struct wf_io *io)
{
    struct pollfd pollfd = {.fd = io->fd, .events = POLLOUT};

    if (io->direction != WF_IO_WRITE || (io->file != NULL && io->file->tcp))
        return false;
    return poll(&pollfd, 1, 0) > 0 && pollfd.revents == POLLOUT;
}

bool wf_io_wait(struct wf_io *io)
{
    static const enum wf_reason reasons[] = {WF_PARK_READ, WF_PARK_WRITE, WF_PARK_CONNECT};
    struct wf_worker *worker = io->worker;
    uint32_t events = io->direction == WF_IO_READ ? EPOLLIN : EPOLLOUT;
    struct wf_io_waiter waiter;
    enum wf_wake wake;

    if (!ask_mode(io))
        return false;
    if (wf_unlikely(refuses_though_ready(io)))
        return wf_io_back_off(io);
    if (wf_reactor_wait(&worker->reactor, &waiter, io->fd, events, worker->current,
                        wf_park_begin(worker), worker->now_ns) < 0) {
        io->unwaitable = errno == EPERM;
        return io->unwaitable || (errno != EBADF && wf_io_back_off(io));
    }
    worker->current->awaited = io->fd;
    wake = wf_park(worker, reasons[io->direction], io->deadline_ns);
    wf_reactor_unwait(&worker->reactor, &waiter);
    return outcome(worker, wake, waiter.closed);
}

/* {=== Descriptors come and go ===} */

void wf_io_opened(struct wf_worker *worker, int fd, bool tcp, bool own)
{
    struct wf_fd *file;

    wf_reactor_forget(&worker->reactor, fd);
    file = wf_reactor_fd(&worker->reactor, fd);
    if (file != NULL) {
        file->tcp = tcp;
        file->identified = true;
        file->own_epoch = own ? atomic_load(&share_epoch) : 0;
    }
}

void wf_io_shared(void)
{
    next_epoch(&share_epoch);
}

bool wf_io_may_be_shared(const struct wf_io *io)
{
    return io->file == NULL || io->file->own_epoch != atomic_load(&share_epoch)
           || wf_worker_count() > 1;
}

void wf_io_closing(int fd)
{
    struct wf_worker *worker = wf_this_worker;

    if (worker != NULL && worker->passing == 0 && wf_reactor_knows(&worker->reactor, fd))
        wf_reactor_forget(&worker->reactor, fd);
}

struct fd_range {
    int first, last;
};

static void doubt_elsewhere(struct wf_worker *worker, void *arg)
{
    const struct fd_range *range = arg;

    if (worker == wf_this_worker
        || !wf_reactor_registered_any(&worker->reactor, range->first, range->last))
        return;
    atomic_store(&worker->doubt_all, true);
    wf_inbox_nudge(&worker->inbox);
}

void wf_io_closed(int first, int last)
{
    struct fd_range range = {first, last};

    if (wf_unlikely(wf_worker_count() > (wf_this_worker != NULL)))
        wf_worker_each(doubt_elsewhere, &range);
}

bool wf_io_is_tcp(const struct wf_io *io)
{
    int domain = 0, type = 0, protocol = 0;
    socklen_t len = sizeof(int);

    if (io->file == NULL)
        return false;
    if (!io->file->identified) {
        io->file->identified = true;
        io->file->tcp = getsockopt(io->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0
                        && getsockopt(io->fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0
                        && getsockopt(io->fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0
                        && (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM
                        && protocol == IPPROTO_TCP;
    }
    return io->file->tcp;
}
