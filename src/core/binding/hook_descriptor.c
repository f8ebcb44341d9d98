/* hook_descriptor.c - descriptors come and go, and change how they block.
 *
 * What the reactor knows belongs to a number, so a number that is closed or replaced must be forgotten, and
 * those who wait for it told.  Whoever closes all there are does not mean the two by which
 * we sleep and are woken.  fcntl is here for F_SETFL; its locks wait in hook_lockfile.c.
 */
#include "hook.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int (*real_close)(int);
static int (*real_close_range)(unsigned, unsigned, int);
static void (*real_closefrom)(int) __attribute__((unused)); /* close_range does its work */
static int (*real_dup2)(int, int);
static int (*real_dup3)(int, int, int);
static int (*real_fcntl)(int, int, ...);
static int (*real_fcntl64)(int, int, ...);
static int (*real_ioctl)(int, unsigned long, ...);

/* {=== Closing and replacing ===} */

static bool is_ours(int fd)
{
    return wf_this_worker != NULL && wf_worker_owns_fd(wf_this_worker, fd);
}

/* A socket may have been told to wait, when it is closed, until what was sent has arrived. */
static int close_somehow(int fd)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;
    bool waits = worker != NULL && wf_socket_lingers(fd);

    errno = error;
    return waits ? (int)wf_offload(worker, WF_OFFLOAD_WAIT, real_close, fd) : real_close(fd);
}

static int hook_close(int fd)
{
    int result, error;

    if (wf_unlikely(is_ours(fd))) {
        errno = EBADF;
        return -1;
    }
    wf_io_closing(fd);
    result = close_somehow(fd);
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

/* {=== fcntl and ioctl ===} */

static bool waits_for_lock(int command)
{
    return command == F_SETLKW || command == F_OFD_SETLKW;
}

static int control(int (*real)(int, int, ...), int fd, int command, long arg)
{
    struct wf_worker *worker = wf_hook_worker();

    if (command == F_SETFL && (arg & O_NONBLOCK))
        wf_io_mode_changed();
    else if (command == F_SETFD && !(arg & FD_CLOEXEC))
        wf_io_shared();
    else if (worker != NULL && waits_for_lock(command))
        return wf_lockfile_fcntl(worker, fd, command, arg);
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
    return control(real_fcntl, fd, command, arg);
}

static int hook_fcntl64(int fd, int command, ...)
{
    va_list args;
    long arg;

    va_start(args, command);
    arg = va_arg(args, long);
    va_end(args);
    return control(real_fcntl64, fd, command, arg);
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
    else if (request == FIONCLEX)
        wf_io_shared();
    return real_ioctl(fd, request, arg);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(close, WF_HOOK_ALL),
    WF_HOOK(close_range, WF_HOOK_ALL),
    WF_HOOK(closefrom, WF_HOOK_ALL),
    WF_HOOK(dup2, WF_HOOK_ALL),
    WF_HOOK(dup3, WF_HOOK_ALL),
    WF_HOOK(fcntl, WF_HOOK_ALL),
    WF_HOOK(fcntl64, WF_HOOK_ALL),
    WF_HOOK(ioctl, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(descriptor);
