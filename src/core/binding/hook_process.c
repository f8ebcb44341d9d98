/* hook_process.c - waiting for children, commands, and vfork, whose child is us and is not.
 *
 * Waiting.  A child has a descriptor (pidfd) that becomes readable when it ends, so waiting for one child
 * is waiting for a descriptor.  For any of several, or for one that stops or continues, or when no more descriptors
 * are to be had, there is none: we look again now and then.
 *
 * Commands.  system and pclose wait inside libc, where no hook reaches: an OS thread makes the whole call.
 *
 * vfork.  The child of a vfork runs on our stack, in our memory, with our thread-local storage, until it execs.
 * What it does to descriptors it does to its own: were its closes ours to see, the green threads that wait for
 * these descriptors would be told they are closed.  And it must never park: it would switch the parent's stacks.
 * So while it lives, all hooks pass straight through on this OS thread (whose parent half is suspended).
 *
 * A fork's child has its own copy of everything, and is seen to by pthread_atfork (module.c).  posix_spawn
 * makes its child inside libc, where no hook is met.
 */
#include "hook.h"
#include "backoff.h"
#include "interrupt.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t (*real_waitpid)(pid_t, int *, int);
static pid_t (*real_wait)(int *);
static pid_t (*real_wait3)(int *, int, struct rusage *);
static pid_t (*real_wait4)(pid_t, int *, int, struct rusage *);
static int (*real_waitid)(idtype_t, id_t, siginfo_t *, int);
static int (*real_system)(const char *);
static int (*real_pclose)(FILE *);

/* {=== Waiting for children ===} */

struct patience {
    struct wf_backoff backoff;
    int pidfd; /* -1: none, look now and then */
};

/* A descriptor of our own that tells when the child ends; -1: there is none.  Stops and continues it does not tell. */
static int watch(idtype_t type, id_t id, int options)
{
    if (options & (WSTOPPED | WCONTINUED))
        return -1;
    switch (type) {
    case P_PID: return (int)syscall(SYS_pidfd_open, id, 0);
    case P_PIDFD: return fcntl((int)id, F_DUPFD_CLOEXEC, 0);
    default: return -1;
    }
}

static struct patience patience_begin(struct wf_worker *worker, idtype_t type, id_t id, int options)
{
    return (struct patience){wf_backoff_begin(worker, WF_PARK_CHILD, WF_NEVER),
                             watch(type, id, options)};
}

/* True: look again.  False: interrupted. */
static bool patience_wait(struct patience *patience)
{
    struct wf_worker *worker = patience->backoff.worker;
    struct wf_io io;
    bool again;

    if (patience->pidfd >= 0) {
        io = wf_io_begin(worker, patience->pidfd, WF_IO_READ);
        worker->outside++;
        again = wf_io_wait(&io);
        worker->outside--;
        return again;
    }
    if (wf_backoff_wait(&patience->backoff) == WF_INTERRUPTED) {
        errno = wf_interrupt_errno(patience->backoff.worker);
        return false;
    }
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
    patience = patience_begin(worker, pid > 0 ? P_PID : P_ALL, (id_t)pid, options);
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
    patience = patience_begin(worker, type, id, options);
    do {
        info->si_pid = 0; /* stays 0 when there is nothing yet */
        result = real_waitid(type, id, info, options | WNOHANG);
    } while (result == 0 && info->si_pid == 0 && patience_wait(&patience));
    patience_end(&patience);
    return result == 0 && info->si_pid == 0 ? -1 : result;
}

/* {=== Commands ===} */

/* The command inherits the signal mask of the OS thread that starts it: the caller's, not that of a helper, which
 * blocks everything. */
static int system_run(const char *command, const sigset_t *mask)
{
    sigset_t own;
    int status;

    pthread_sigmask(SIG_SETMASK, mask, &own);
    status = real_system(command);
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    return status;
}

static int hook_system(const char *command)
{
    struct wf_worker *worker = wf_hook_worker();
    sigset_t mask;

    if (worker == NULL || command == NULL)
        return real_system(command);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return (int)wf_offload(worker, WF_OFFLOAD_WAIT, system_run, (long)command, (long)&mask);
}

static int hook_pclose(FILE *file)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_pclose(file)
                          : (int)wf_offload(worker, WF_OFFLOAD_WAIT, real_pclose, (long)file);
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
    WF_HOOK(system, WF_HOOK_ALL),
    WF_HOOK(pclose, WF_HOOK_ALL),
    WF_HOOK(vfork, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(process);
