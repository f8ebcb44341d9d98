/* hook_process.c - waiting for children, and vfork, whose child is us and is not.
 *
 * Waiting.  A child has a descriptor (pidfd) that becomes readable when it ends, so waiting for one child
 * is waiting for a descriptor.  For any of several, or for one that stops or continues, there is none: we
 * look again now and then.
 *
 * vfork.  The child of a vfork runs on our stack, in our memory, with our thread-local storage, until it execs.  What it does to
 * descriptors it does to its own: were its closes ours to see, the green threads that wait for these descriptors
 * would be told they are closed.  And it must never park: it would switch the parent's stacks.  So while it
 * lives, all hooks pass straight through on this OS thread (whose parent half is suspended).
 *
 * A fork's child has its own copy of everything, and is seen to by pthread_atfork (module.c).  posix_spawn
 * makes its child inside libc, where no hook is met.
 */
#include "hook.h"
#include "io.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t (*real_waitpid)(pid_t, int *, int);
static pid_t (*real_wait)(int *);
static pid_t (*real_wait3)(int *, int, struct rusage *);
static pid_t (*real_wait4)(pid_t, int *, int, struct rusage *);
static int (*real_waitid)(idtype_t, id_t, siginfo_t *, int);

/* How often we look for what has no descriptor: soon at first, then less often. */
#define FIRST_PAUSE_NS (WF_NS_PER_MS / 2)
#define LAST_PAUSE_NS (20 * WF_NS_PER_MS)

/* {=== Waiting for children ===} */

struct patience {
    struct wf_worker *worker;
    pid_t pid;
    int pidfd;        /* -1: none, look now and then */
    int64_t pause_ns;
};

/* `pid` <= 0: any of several.  Stops and continues are not told by the descriptor. */
static struct patience patience_begin(struct wf_worker *worker, pid_t pid, int options)
{
    bool only_the_end = (options & (WUNTRACED | WCONTINUED)) == 0;
    int pidfd = pid > 0 && only_the_end ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    return (struct patience){worker, pid, pidfd, FIRST_PAUSE_NS};
}

/* True: look again.  False: interrupted. */
static bool patience_wait(struct patience *patience)
{
    struct wf_io io;

    if (patience->pidfd >= 0) {
        io = wf_io_begin(patience->worker, patience->pidfd, WF_IO_READ);
        return wf_io_wait(&io);
    }
    wf_park_begin(patience->worker);
    patience->worker->current->awaited = patience->pid > 0 ? patience->pid : -1;
    if (wf_park(patience->worker, WF_PARK_CHILD, wf_deadline(patience->pause_ns))
        == WF_INTERRUPTED) {
        errno = EINTR;
        return false;
    }
    if (patience->pause_ns < LAST_PAUSE_NS)
        patience->pause_ns *= 2;
    return true;
}

static void patience_end(struct patience *patience)
{
    int error = errno;

    if (patience->pidfd >= 0) {
        wf_io_closing(patience->pidfd);
        close(patience->pidfd);
    }
    errno = error;
}

static pid_t hook_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    struct wf_worker *worker = wf_hook_worker();
    struct patience patience;
    pid_t result;

    if (worker == NULL || (options & WNOHANG))
        return real_wait4(pid, status, options, usage);
    patience = patience_begin(worker, pid, options);
    do
        result = real_wait4(pid, status, options | WNOHANG, usage);
    while (result == 0 && patience_wait(&patience));
    patience_end(&patience);
    return result == 0 ? -1 : result;
}

static pid_t hook_waitpid(pid_t pid, int *status, int options)
{
    return hook_wait4(pid, status, options, NULL);
}

static pid_t hook_wait3(int *status, int options, struct rusage *usage)
{
    return hook_wait4(-1, status, options, usage);
}

static pid_t hook_wait(int *status)
{
    return hook_wait4(-1, status, 0, NULL);
}

static int hook_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    struct wf_worker *worker = wf_hook_worker();
    siginfo_t own;
    struct patience patience;
    int result;

    if (worker == NULL || (options & WNOHANG))
        return real_waitid(type, id, info, options);
    if (info == NULL)
        info = &own;
    patience = patience_begin(worker, type == P_PID ? (pid_t)id : 0,
                              options & (WSTOPPED | WCONTINUED));
    do {
        info->si_pid = 0; /* stays 0 when there is nothing yet */
        result = real_waitid(type, id, info, options | WNOHANG);
    } while (result == 0 && info->si_pid == 0 && patience_wait(&patience));
    patience_end(&patience);
    return result == 0 && info->si_pid == 0 ? -1 : result;
}

/* {=== vfork ===} */

pid_t (*wf_real_vfork)(void) __attribute__((visibility("hidden")));
#define real_vfork wf_real_vfork

pid_t hook_vfork(void);

/* Both are called by hook_vfork. */
void wf_vfork_enter(void *return_address) __attribute__((visibility("hidden")));
void *wf_vfork_leave(pid_t result) __attribute__((visibility("hidden")));

static __thread void *returns_to;

void wf_vfork_enter(void *return_address)
{
    returns_to = return_address;
    if (wf_this_worker != NULL)
        wf_this_worker->passing++;
}

/* In the child (result 0) nothing changes: it is the parent who takes back what he did. */
void *wf_vfork_leave(pid_t result)
{
    if (result != 0 && wf_this_worker != NULL)
        wf_this_worker->passing--;
    return returns_to;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(waitpid, WF_HOOK_ALL),
    WF_HOOK(wait, WF_HOOK_ALL),
    WF_HOOK(wait3, WF_HOOK_ALL),
    WF_HOOK(wait4, WF_HOOK_ALL),
    WF_HOOK(waitid, WF_HOOK_ALL),
    WF_HOOK(vfork, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(process);
