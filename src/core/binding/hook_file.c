/* hook_file.c - read and write on whatever a descriptor may be.
 *
 * preadv2 and pwritev2 with RWF_NOWAIT are the per-call "do not block" for files in general; a TCP socket is asked
 * with recv and send, which cost the kernel less.  Where a file knows neither (terminals, named pipes, /proc), we look
 * with poll and then make the real call.  Regular files are always ready in the eyes of poll; what of them is not in memory is hook_disk.c's.
 */
#include "hook.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
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

static inline bool is_stream_buffer(const struct wf_io *io, int count)
{
    return count == 1 && io->file != NULL && io->file->tcp;
}

/* An OS thread without a worker has closed the socket that we know, and the number is another file's. */
static bool was_mistaken(const struct wf_io *io, ssize_t result)
{
    if (wf_likely(result >= 0 || errno != ENOTSOCK))
        return false;
    io->file->tcp = io->file->drained = false;
    return true;
}

/* Such a file has no RWF_NOWAIT. */
static bool nowait_unknown(void)
{
    return errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS;
}

/* {=== Reading ===}
 *
 * A file without RWF_NOWAIT is ready, but somebody else may be quicker to read it.  Named pipes have several
 * readers when they serve as a queue, so there an OS thread runs the risk.  A terminal has one: it is read here,
 * where the kernel can stop a background process that tries. */

static ssize_t read_somehow(const struct wf_io *io, const struct iovec *iov, int count)
{
    struct stat st = {0};

    fstat(io->fd, &st);
    if (S_ISFIFO(st.st_mode) && !(fcntl(io->fd, F_GETFL) & O_NONBLOCK))
        return wf_offload(io->worker, WF_OFFLOAD_INTERRUPTIBLE, real_readv, io->fd, (long)iov, count);
    if (S_ISREG(st.st_mode) && wf_disk_is_remote(io->fd))
        return wf_offload(io->worker, WF_OFFLOAD_WORK, real_readv, io->fd, (long)iov, count);
    return real_readv(io->fd, iov, count);
}

static ssize_t read_now(const struct wf_io *io, const struct iovec *iov, int count)
{
    if (is_stream_buffer(io, count)) {
        ssize_t got = recv(io->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT);
        if (!was_mistaken(io, got))
            return got;
    }
    return preadv2(io->fd, iov, count, -1, RWF_NOWAIT);
}

static enum attempt try_read(const struct wf_io *io, const struct iovec *iov, int count, ssize_t *got)
{
    if (wf_io_known_empty(io))
        return WAIT;
    *got = read_now(io, iov, count);
    if (*got >= 0)
        return DONE;
    if (nowait_unknown()) {
        if (!ready(io->fd, POLLIN))
            return WAIT;
        *got = read_somehow(io, iov, count);
        return *got >= 0 ? DONE : FAILED;
    }
    return errno == EAGAIN ? WAIT : FAILED;
}

static size_t vector_len(const struct iovec *iov, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    return len;
}

/* A short read of a regular file is the end of what is in memory; the caller would take it for the end of the file. */
static bool is_cut_short(const struct wf_io *io, ssize_t got, size_t len)
{
    return got > 0 && (size_t)got < len && (io->file == NULL || !io->file->tcp) && is_regular(io->fd);
}

static ssize_t read_vector(struct wf_worker *worker, int fd, const struct iovec *iov, int count)
{
    struct wf_io io = wf_io_begin(worker, fd, WF_IO_READ);
    size_t len = vector_len(iov, count);
    int error = errno;
    ssize_t got;

    do {
        enum attempt attempt;
        if (io.unwaitable)
            return wf_disk_read_rest(worker, fd, iov, count, -1, 0);
        attempt = try_read(&io, iov, count, &got);
        if (attempt == FAILED)
            return -1;
        if (attempt == DONE) {
            wf_io_note_read(&io, got, len);
            if (is_cut_short(&io, got, len))
                got = wf_disk_read_rest(worker, fd, iov, count, -1, got);
            wf_ready_call(worker);
            errno = error;
            return got;
        }
    } while (wf_io_wait(&io));
    return -1;
}

static ssize_t hook_read(int fd, void *buf, size_t len)
{
    struct wf_worker *worker = wf_hook_worker();
    struct iovec iov = {buf, len};

    return worker == NULL || len == 0 ? real_read(fd, buf, len) : read_vector(worker, fd, &iov, 1);
}

static ssize_t hook___read_chk(int fd, void *buf, size_t len, size_t size)
{
    return len > size ? real___read_chk(fd, buf, len, size) : hook_read(fd, buf, len);
}

static ssize_t hook_readv(int fd, const struct iovec *iov, int count)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL || count <= 0 || count > IOV_MAX ? real_readv(fd, iov, count)
                                                           : read_vector(worker, fd, iov, count);
}

/* {=== Writing: a blocking write returns when all is written ===}
 *
 * A file without RWF_NOWAIT that says it is ready may still block in the middle of a write: a terminal whose
 * buffer fills up, an eventfd whose counter would overflow.  A pipe that is ready takes PIPE_BUF bytes, and
 * a regular file whatever it is given; for all others an OS thread blocks in the real call. */

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
    if (takes_at_once(io->fd, len))
        return real_writev(io->fd, iov, count);
    return wf_offload(io->worker, WF_OFFLOAD_WAIT, real_writev, io->fd, (long)iov, count);
}

static ssize_t write_now(const struct wf_io *io, const struct iovec *iov, int count)
{
    if (is_stream_buffer(io, count)) {
        ssize_t written = send(io->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT);
        if (!was_mistaken(io, written))
            return written;
    }
    return pwritev2(io->fd, iov, count, -1, RWF_NOWAIT);
}

static enum attempt try_write(const struct wf_io *io, const struct iovec *iov, int count, size_t len,
                              ssize_t *written)
{
    *written = write_now(io, iov, count);
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
            return wf_offload(io->worker, WF_OFFLOAD_WORK, real_writev, io->fd, (long)iov, count);
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

/* As one whole if possible (to a datagram socket it is one datagram); only what a stream did not take follows in
 * pieces. */
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

static const struct wf_hook hooks[] = {
    WF_HOOK(read, WF_HOOK_ALL),
    WF_HOOK(__read_chk, WF_HOOK_ALL),
    WF_HOOK(readv, WF_HOOK_ALL),
    WF_HOOK(write, WF_HOOK_ALL),
    WF_HOOK(writev, WF_HOOK_ALL),
    WF_HOOK(eventfd_read, WF_HOOK_ALL),
    WF_HOOK(eventfd_write, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(file);
