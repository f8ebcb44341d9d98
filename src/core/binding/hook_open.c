/* hook_open.c - opening a named pipe waits until somebody opens its other end.
 *
 * What a path leads to must be asked before it is opened, at the price of one stat.  An OS thread then
 * makes the real call: O_NONBLOCK would not do, since it makes a writer fail where it should wait, and
 * lets a reader in where he should.  Other files are opened here.
 */
#include "hook.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

static int (*real_open)(const char *, int, ...);
static int (*real_open64)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_openat64)(int, const char *, int, ...);
static int (*real_creat)(const char *, mode_t);
static int (*real_creat64)(const char *, mode_t);
static int (*real___open_2)(const char *, int);
static int (*real___open64_2)(const char *, int);
static int (*real___openat_2)(int, const char *, int);
static int (*real___openat64_2)(int, const char *, int);

/* Could a named pipe make such an open wait? */
static bool may_wait(int flags)
{
    return (flags & O_ACCMODE) != O_RDWR && !(flags & (O_NONBLOCK | O_PATH | O_DIRECTORY))
           && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

/* The worker for which the open must be offloaded, or NULL. */
static struct wf_worker *waiter(int dir, const char *path, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    struct stat st;
    int error = errno;
    bool fifo;

    if (worker == NULL || !may_wait(flags))
        return NULL;
    fifo = fstatat(dir, path, &st, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) == 0
           && S_ISFIFO(st.st_mode);
    errno = error;
    return fifo ? worker : NULL;
}

static int open_pipe(struct wf_worker *worker, int dir, const char *path, int flags, mode_t mode)
{
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, openat64, dir, (long)path, flags, mode);
}

/* Variadic in C; on this ABI the one optional argument is a word in a register. */
#define OPTIONAL_MODE(last)            \
    ({                                 \
        va_list args;                  \
        mode_t mode;                   \
        va_start(args, last);          \
        mode = va_arg(args, mode_t);   \
        va_end(args);                  \
        mode;                          \
    })

static int hook_open(const char *path, int flags, ...)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, flags);
    mode_t mode = OPTIONAL_MODE(flags);

    return worker == NULL ? real_open(path, flags, mode)
                          : open_pipe(worker, AT_FDCWD, path, flags, mode);
}

static int hook_open64(const char *path, int flags, ...)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, flags);
    mode_t mode = OPTIONAL_MODE(flags);

    return worker == NULL ? real_open64(path, flags, mode)
                          : open_pipe(worker, AT_FDCWD, path, flags, mode);
}

static int hook_openat(int dir, const char *path, int flags, ...)
{
    struct wf_worker *worker = waiter(dir, path, flags);
    mode_t mode = OPTIONAL_MODE(flags);

    return worker == NULL ? real_openat(dir, path, flags, mode)
                          : open_pipe(worker, dir, path, flags, mode);
}

static int hook_openat64(int dir, const char *path, int flags, ...)
{
    struct wf_worker *worker = waiter(dir, path, flags);
    mode_t mode = OPTIONAL_MODE(flags);

    return worker == NULL ? real_openat64(dir, path, flags, mode)
                          : open_pipe(worker, dir, path, flags, mode);
}

#define CREAT_FLAGS (O_CREAT | O_WRONLY | O_TRUNC)

static int hook_creat(const char *path, mode_t mode)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, CREAT_FLAGS);

    return worker == NULL ? real_creat(path, mode)
                          : open_pipe(worker, AT_FDCWD, path, CREAT_FLAGS, mode);
}

static int hook_creat64(const char *path, mode_t mode)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, CREAT_FLAGS);

    return worker == NULL ? real_creat64(path, mode)
                          : open_pipe(worker, AT_FDCWD, path, CREAT_FLAGS, mode);
}

/* {=== The fortified variants refuse flags that would need a mode ===} */

static int hook___open_2(const char *path, int flags)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, flags);

    return worker == NULL || (flags & O_CREAT) ? real___open_2(path, flags)
                                               : open_pipe(worker, AT_FDCWD, path, flags, 0);
}

static int hook___open64_2(const char *path, int flags)
{
    struct wf_worker *worker = waiter(AT_FDCWD, path, flags);

    return worker == NULL || (flags & O_CREAT) ? real___open64_2(path, flags)
                                               : open_pipe(worker, AT_FDCWD, path, flags, 0);
}

static int hook___openat_2(int dir, const char *path, int flags)
{
    struct wf_worker *worker = waiter(dir, path, flags);

    return worker == NULL || (flags & O_CREAT) ? real___openat_2(dir, path, flags)
                                               : open_pipe(worker, dir, path, flags, 0);
}

static int hook___openat64_2(int dir, const char *path, int flags)
{
    struct wf_worker *worker = waiter(dir, path, flags);

    return worker == NULL || (flags & O_CREAT) ? real___openat64_2(dir, path, flags)
                                               : open_pipe(worker, dir, path, flags, 0);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(open, WF_HOOK_ALL),
    WF_HOOK(open64, WF_HOOK_ALL),
    WF_HOOK(openat, WF_HOOK_ALL),
    WF_HOOK(openat64, WF_HOOK_ALL),
    WF_HOOK(creat, WF_HOOK_ALL),
    WF_HOOK(creat64, WF_HOOK_ALL),
    WF_HOOK(__open_2, WF_HOOK_ALL),
    WF_HOOK(__open64_2, WF_HOOK_ALL),
    WF_HOOK(__openat_2, WF_HOOK_ALL),
    WF_HOOK(__openat64_2, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(open);
