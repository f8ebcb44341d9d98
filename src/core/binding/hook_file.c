/* hook_file.c - read, write and close on whatever a descriptor may be.
 *
 * preadv2 and pwritev2 with RWF_NOWAIT are the per-call "do not block" for files in general.  Where a file
 * does not know them (terminals, named pipes, /proc), we look with poll and then make the
 * real call.  Regular files are always ready in the eyes of poll, and the real call is made.
 */
#include "hook.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real___read_chk)(int, void *, size_t, size_t);
static ssize_t (*real_readv)(int, const struct iovec *, int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_eventfd_read)(int, eventfd_t *) __attribute__((unused));
static int (*real_eventfd_write)(int, eventfd_t) __attribute__((unused));
static ssize_t (*real_sendfile)(int, int, off_t *, size_t);
static ssize_t (*real_sendfile64)(int, int, off_t *, size_t);
static int (*real_close)(int);
static int (*real_close_range)(unsigned, unsigned, int);
static void (*real_closefrom)(int) __attribute__((unused)); /* close_range does its work */
static int (*real_dup2)(int, int);
static int (*real_dup3)(int, int, int);
static int (*real_fcntl)(int, int, ...);
static int (*real_fcntl64)(int, int, ...);
static int (*real_ioctl)(int, unsigned long, ...);

/* What a try came to. */
enum attempt { DONE, WAIT, FAILED };

static bool is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool ready(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    return poll(&pollfd, 1, 0) != 0; /* an error is for the real call to tell */
}

/* Such a file has no RWF_NOWAIT. */
static bool nowait_unknown(void)
{
    return errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS;
}

/* {=== Reading ===} */

static enum attempt try_read(const struct wf_io *io, const struct iovec *iov, int count, ssize_t *got)
{
    if (wf_io_known_empty(io))
        return WAIT;
    *got = preadv2(io->fd, iov, count, -1, RWF_NOWAIT);
    if (*got >= 0)
        return DONE;
    if (nowait_unknown()) {
        if (!ready(io->fd, POLLIN))
            return WAIT;
        *got = real_readv(io->fd, iov, count);
        return *got >= 0 ? DONE : FAILED;
    }
    return errno == EAGAIN ? WAIT : FAILED;
}

/* Of a regular file, RWF_NOWAIT gives what is cached and no more; the caller may take that for the end. */
static ssize_t read_rest(int fd, char *buf, size_t len, ssize_t got)
{
    ssize_t more;

    if (got <= 0 || (size_t)got == len || !is_regular(fd))
        return got;
    more = real_read(fd, buf + got, len - (size_t)got);
    return more > 0 ? got + more : got;
}

static ssize_t hook_read(int fd, void *buf, size_t len)
{
    struct wf_worker *worker = wf_hook_worker();
    struct iovec iov = {buf, len};
    struct wf_io io;
    int error = errno;
    ssize_t got;

    if (worker == NULL || len == 0)
        return real_read(fd, buf, len);
    io = wf_io_begin(worker, fd, WF_IO_READ);
    do {
        enum attempt attempt;
        if (io.unwaitable)
            return real_read(fd, buf, len);
        attempt = try_read(&io, &iov, 1, &got);
        if (attempt == FAILED)
            return -1;
        if (attempt == DONE) {
            wf_io_note_read(&io, got, len);
            if (io.file == NULL || !io.file->tcp)
                got = read_rest(fd, buf, len, got);
            wf_ready_call(worker);
            errno = error;
            return got;
        }
    } while (wf_io_wait(&io));
    return -1;
}

static ssize_t hook___read_chk(int fd, void *buf, size_t len, size_t size)
{
    return len > size ? real___read_chk(fd, buf, len, size) : hook_read(fd, buf, len);
}

static ssize_t hook_readv(int fd, const struct iovec *iov, int count)
{
    struct wf_worker *worker = wf_hook_worker();
    struct wf_io io;
    int error = errno;
    ssize_t got;

    if (worker == NULL || is_regular(fd))
        return real_readv(fd, iov, count);
    io = wf_io_begin(worker, fd, WF_IO_READ);
    do {
        enum attempt attempt;
        if (io.unwaitable)
            return real_readv(fd, iov, count);
        attempt = try_read(&io, iov, count, &got);
        if (attempt == FAILED)
            return -1;
        if (attempt == DONE) {
            wf_ready_call(worker);
            errno = error;
            return got;
        }
    } while (wf_io_wait(&io));
    return -1;
}

/* {=== Writing: a blocking write returns when all is written ===}
 *
 * A file without RWF_NOWAIT that says it is ready may still block in the middle of a write: a terminal whose
 * buffer fills up, an eventfd whose counter would overflow.  A pipe that is ready takes PIPE_BUF bytes, and
 * a regular file whatever it is given; for all others an OS thread blocks in the real call. */

struct writev_call {
    int fd;
    const struct iovec *iov;
    int count;
    ssize_t result;
    int error;
};

static void writev_run(void *arg)
{
    struct writev_call *call = arg;

    call->result = real_writev(call->fd, call->iov, call->count);
    call->error = errno;
}

static bool takes_at_once(int fd, size_t len)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && (flags & O_NONBLOCK))
        return true;
    if (fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
        return true; /* an error is for the real call to tell */
    return S_ISFIFO(st.st_mode) && len <= PIPE_BUF && ready(fd, POLLOUT);
}

static ssize_t write_somehow(const struct wf_io *io, const struct iovec *iov, int count, size_t len)
{
    struct writev_call call = {io->fd, iov, count, 0, 0};

    if (takes_at_once(io->fd, len) || !wf_offload(io->worker, writev_run, &call))
        return real_writev(io->fd, iov, count);
    if (call.result < 0)
        errno = call.error;
    return call.result;
}

static enum attempt try_write(const struct wf_io *io, const struct iovec *iov, int count, size_t len,
                              ssize_t *written)
{
    *written = pwritev2(io->fd, iov, count, -1, RWF_NOWAIT);
    if (*written < 0 && nowait_unknown())
        *written = write_somehow(io, iov, count, len);
    if (*written >= 0)
        return DONE;
    return errno == EAGAIN ? WAIT : FAILED;
}

/* Parks until something could be written; its length, or -1. */
static ssize_t write_some(struct wf_io *io, const struct iovec *iov, int count, size_t len)
{
    ssize_t written;

    for (;;) {
        enum attempt attempt = try_write(io, iov, count, len, &written);
        if (attempt != WAIT)
            return written;
        if (!wf_io_wait(io))
            return -1;
        if (io->unwaitable)
            return real_writev(io->fd, iov, count);
    }
}

static ssize_t write_all(struct wf_io *io, const char *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        struct iovec iov = {(void *)(buf + done), len - done};
        ssize_t written = write_some(io, &iov, 1, len - done);
        if (written < 0)
            return done > 0 ? (ssize_t)done : -1;
        done += (size_t)written;
        if (written == 0)
            break;
    }
    return (ssize_t)done;
}

static ssize_t hook_write(int fd, const void *buf, size_t len)
{
    struct wf_worker *worker = wf_hook_worker();
    struct wf_io io;
    int error = errno;
    ssize_t written;

    if (worker == NULL || len == 0)
        return real_write(fd, buf, len);
    io = wf_io_begin(worker, fd, WF_IO_WRITE);
    written = write_all(&io, buf, len);
    if (written >= 0) {
        wf_ready_call(worker);
        errno = error;
    }
    return written;
}

/* What is left of the vector after `skip` bytes, piece by piece. */
static size_t write_rest(struct wf_io *io, const struct iovec *iov, int count, size_t skip)
{
    size_t done = 0;

    for (int i = 0; i < count; i++) {
        size_t len = iov[i].iov_len;
        ssize_t written;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        written = write_all(io, (const char *)iov[i].iov_base + skip, len - skip);
        if (written < 0)
            break;
        done += (size_t)written;
        if ((size_t)written < len - skip)
            break;
        skip = 0;
    }
    return done;
}

static size_t vector_len(const struct iovec *iov, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    return len;
}

/* As one whole if possible (to a datagram socket it is one datagram); only what a stream did not take follows in pieces. */
static ssize_t hook_writev(int fd, const struct iovec *iov, int count)
{
    struct wf_worker *worker = wf_hook_worker();
    struct wf_io io;
    int error = errno;
    ssize_t written;

    if (worker == NULL || count <= 0)
        return real_writev(fd, iov, count);
    io = wf_io_begin(worker, fd, WF_IO_WRITE);
    written = write_some(&io, iov, count, vector_len(iov, count));
    if (written < 0)
        return -1;
    written += (ssize_t)write_rest(&io, iov, count, (size_t)written);
    wf_ready_call(worker);
    errno = error;
    return written;
}

/* {=== eventfd's own calls read and write inside libc ===} */

static int hook_eventfd_read(int fd, eventfd_t *value)
{
    return hook_read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}

static int hook_eventfd_write(int fd, eventfd_t value)
{
    return hook_write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}

/* {=== sendfile has no per-call flag: an OS thread blocks in it for us ===} */

struct sendfile_call {
    int out, in;
    off_t *offset;
    size_t count;
    ssize_t result;
    int error;
};

static void sendfile_run(void *arg)
{
    struct sendfile_call *call = arg;

    call->result = real_sendfile64(call->out, call->in, call->offset, call->count);
    call->error = errno;
}

static ssize_t hook_sendfile64(int out, int in, off_t *offset, size_t count)
{
    struct wf_worker *worker = wf_hook_worker();
    struct sendfile_call call = {out, in, offset, count, 0, 0};
    int flags;

    if (worker == NULL || (flags = fcntl(out, F_GETFL)) < 0 || (flags & O_NONBLOCK))
        return real_sendfile64(out, in, offset, count);
    if (!wf_offload(worker, sendfile_run, &call))
        return real_sendfile64(out, in, offset, count);
    if (call.result < 0)
        errno = call.error;
    return call.result;
}

static ssize_t hook_sendfile(int out, int in, off_t *offset, size_t count)
{
    return hook_sendfile64(out, in, offset, count);
}

/* {=== Descriptors come and go ===} */

static bool is_ours(int fd)
{
    return wf_this_worker != NULL && wf_worker_owns_fd(wf_this_worker, fd);
}

static int hook_close(int fd)
{
    int result, error;

    if (wf_unlikely(is_ours(fd))) {
        errno = EBADF;
        return -1;
    }
    wf_io_closing(fd);
    result = real_close(fd);
    error = errno;
    wf_io_closed(fd, fd);
    errno = error;
    return result;
}

static void closing_range(unsigned first, unsigned last)
{
    struct wf_worker *worker = wf_this_worker;

    if (worker == NULL)
        return;
    if (last >= WF_FD_CHUNK * WF_FD_CHUNKS)
        last = WF_FD_CHUNK * WF_FD_CHUNKS - 1;
    for (unsigned fd = first; fd <= last; fd++) {
        if (worker->reactor.chunks[fd / WF_FD_CHUNK] == NULL)
            fd |= WF_FD_CHUNK - 1;
        else if (wf_reactor_knows(&worker->reactor, (int)fd))
            wf_io_closing((int)fd);
    }
}

/* linux/close_range.h is not on every system. */
#define JUST_CLOEXEC 4

/* All but our own two descriptors. */
static int close_ranges(unsigned first, unsigned last, int flags)
{
    for (unsigned fd = first; fd <= last && fd < WF_FD_CHUNK * WF_FD_CHUNKS; fd++) {
        if (!is_ours((int)fd))
            continue;
        if (fd > first && real_close_range(first, fd - 1, flags) < 0)
            return -1;
        first = fd + 1;
    }
    return first <= last ? real_close_range(first, last, flags) : 0;
}

static int hook_close_range(unsigned first, unsigned last, int flags)
{
    int result, error;

    if ((flags & JUST_CLOEXEC) || first > last)
        return real_close_range(first, last, flags);
    closing_range(first, last);
    result = close_ranges(first, last, flags);
    error = errno;
    wf_io_closed((int)(first > INT_MAX ? INT_MAX : first), (int)(last > INT_MAX ? INT_MAX : last));
    errno = error;
    return result;
}

static void hook_closefrom(int first)
{
    hook_close_range(first < 0 ? 0 : (unsigned)first, UINT_MAX, 0);
}

/* The result of a dup2 that closed `to` on the way. */
static int replaced(int result, int to)
{
    int error = errno;

    wf_io_closed(to, to);
    errno = error;
    return result;
}

static int hook_dup2(int from, int to)
{
    if (from != to) {
        wf_worker_leave_fd(to);
        wf_io_closing(to);
    }
    return replaced(real_dup2(from, to), to);
}

static int hook_dup3(int from, int to, int flags)
{
    wf_worker_leave_fd(to);
    wf_io_closing(to);
    return replaced(real_dup3(from, to, flags), to);
}

/* {=== How a file blocks ===} */

static int set_flags(int (*real)(int, int, ...), int fd, int command, long arg)
{
    if (command == F_SETFL && (arg & O_NONBLOCK))
        wf_io_mode_changed();
    return real(fd, command, arg);
}

/* Variadic in C; on this ABI the one optional argument, whatever its type, is a word in a register. */
static int hook_fcntl(int fd, int command, ...)
{
    va_list args;
    long arg;

    va_start(args, command);
    arg = va_arg(args, long);
    va_end(args);
    return set_flags(real_fcntl, fd, command, arg);
}

static int hook_fcntl64(int fd, int command, ...)
{
    va_list args;
    long arg;

    va_start(args, command);
    arg = va_arg(args, long);
    va_end(args);
    return set_flags(real_fcntl64, fd, command, arg);
}

static int hook_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    if (request == FIONBIO && *(int *)arg != 0)
        wf_io_mode_changed();
    return real_ioctl(fd, request, arg);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(read, WF_HOOK_ALL),
    WF_HOOK(__read_chk, WF_HOOK_ALL),
    WF_HOOK(readv, WF_HOOK_ALL),
    WF_HOOK(write, WF_HOOK_ALL),
    WF_HOOK(writev, WF_HOOK_ALL),
    WF_HOOK(eventfd_read, WF_HOOK_ALL),
    WF_HOOK(eventfd_write, WF_HOOK_ALL),
    WF_HOOK(sendfile, WF_HOOK_ALL),
    WF_HOOK(sendfile64, WF_HOOK_ALL),
    WF_HOOK(close, WF_HOOK_ALL),
    WF_HOOK(close_range, WF_HOOK_ALL),
    WF_HOOK(closefrom, WF_HOOK_ALL),
    WF_HOOK(dup2, WF_HOOK_ALL),
    WF_HOOK(dup3, WF_HOOK_ALL),
    WF_HOOK(fcntl, WF_HOOK_ALL),
    WF_HOOK(fcntl64, WF_HOOK_ALL),
    WF_HOOK(ioctl, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(file);
