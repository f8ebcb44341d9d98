/* hook_lockfile.c - locks on files: flock, lockf, and those of fcntl.
 *
 * Each can be tried without waiting.  If somebody else has the lock an OS thread waits for it, rather than we
 * trying again now and then: so the kernel's queue stays fair, and a ring of record locks is
 * still refused with EDEADLK.  Record locks belong to the process and the others to the open file, so it
 * does not matter which OS thread asks.
 */
#include "hook.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static int (*real_flock)(int, int);
static int (*real_lockf)(int, int, off_t);
static int (*real_lockf64)(int, int, off64_t);

/* A try failed with errno: is it because another has the lock? */
static bool taken(void)
{
    return errno == EAGAIN || errno == EACCES;
}

static int hook_flock(int fd, int operation)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;

    if (worker == NULL || (operation & LOCK_NB))
        return real_flock(fd, operation);
    if (real_flock(fd, operation | LOCK_NB) == 0)
        return 0;
    if (!taken())
        return -1;
    errno = error;
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, real_flock, fd, operation);
}

static int hook_lockf64(int fd, int command, off64_t len)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;

    if (worker == NULL || command != F_LOCK)
        return real_lockf64(fd, command, len);
    if (real_lockf64(fd, F_TLOCK, len) == 0)
        return 0;
    if (!taken())
        return -1;
    errno = error;
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, real_lockf64, fd, command, len);
}

static int hook_lockf(int fd, int command, off_t len)
{
    return wf_hook_worker() == NULL ? real_lockf(fd, command, len) : hook_lockf64(fd, command, len);
}

int wf_lockfile_fcntl(struct wf_worker *worker, int fd, int command, long lock)
{
    int error = errno;

    if (fcntl(fd, command == F_SETLKW ? F_SETLK : F_OFD_SETLK, lock) == 0)
        return 0;
    if (!taken())
        return -1;
    errno = error;
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, fcntl, fd, command, lock);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(flock, WF_HOOK_ALL),
    WF_HOOK(lockf, WF_HOOK_ALL),
    WF_HOOK(lockf64, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(lockfile);
