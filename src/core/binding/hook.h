/* hook.h - what the families of hooks share.
 *
 * A hook replaces one libc function.  Its first question is whether there is anything to do:
 * without green threads on this OS thread it is one load and one branch away from the real
 * function.  Its second is whether the real call, asked not to block, succeeds at once.
 * Only then does it park.
 *
 * Rules for a hook
 *   - It behaves as the blocking call it replaces: same result, same errno, EINTR included.
 *   - It leaves errno alone when it succeeds.
 *   - It calls libc through `real_...` or from this object, which is never hooked.
 *
 * Each family file lists its hooks in a table; hook.c installs them all.
 */
#ifndef WF_HOOK_H
#define WF_HOOK_H

#include "got.h"
#include "sched.h"
#include "thread_counts.h"

#include <sys/uio.h>

struct wf_hook_family {
    const struct wf_hook *hooks;
    size_t count;
};

extern const struct wf_hook_family wf_hooks_socket, wf_hooks_connection, wf_hooks_file,
    wf_hooks_disk, wf_hooks_splice, wf_hooks_descriptor, wf_hooks_open, wf_hooks_lockfile,
    wf_hooks_queue, wf_hooks_poll, wf_hooks_time, wf_hooks_process, wf_hooks_resolve,
    wf_hooks_signal, wf_hooks_sigwait, wf_hooks_thread, wf_hooks_join, wf_hooks_once,
    wf_hooks_semaphore, wf_hooks_mutex, wf_hooks_rwlock, wf_hooks_condition, wf_hooks_errqueue,
    wf_hooks_thread_local, wf_hooks_lookup, wf_hooks_carry;

#define WF_HOOK(name, class) {#name, (void *)hook_##name, (void **)&real_##name, class}
#define WF_HOOK_FAMILY(family) \
    const struct wf_hook_family wf_hooks_##family = {hooks, sizeof hooks / sizeof *hooks}

/* The worker for which a hook has something to do, or NULL: pass straight through.  With a clock of its own there
 * always is: libc would wait for moments of the real one. */
static inline struct wf_worker *wf_hook_worker(void)
{
    struct wf_worker *worker = wf_this_worker;
    return wf_likely(worker == NULL) || (worker->active == 0 && wf_likely(wf_clock == NULL)) || worker->passing > 0
               ? NULL : worker;
}

/* What CPython's pthread_create does. */
enum wf_thread_mode { WF_THREADS_OS, WF_THREADS_COUNTED, WF_THREADS_GREEN };

/* Installs all hooks unless they are; with the GIL. 0, or -1 with a Python exception. */
int wf_hook_ensure(void);

/* Adds a family of hooks that few programs need, also to what is installed; with the GIL.  0, or -1 with an exception. */
int wf_hook_add(const struct wf_hook_family *family);

/* Adds install, uninstall and their kin to the module.  0, or -1 with an exception. */
int wf_hook_init(PyObject *module);

/* All hooks there are. */
const struct wf_hook *wf_hook_table(size_t *count);

/* hooked.c: adds set_policy and what tells about hooks.  0, or -1 with an exception. */
int wf_hooked_init(PyObject *module);

/* Raises RuntimeError, if an object is loaded whose thread-local variables cannot be kept apart; 0 or -1. */
int wf_hook_refuse_unkept(void);

/* hook_thread.c */
void wf_thread_set_mode(enum wf_thread_mode mode);
enum wf_thread_mode wf_thread_get_mode(void);
struct wf_thread_counts wf_thread_counts(void);
/* Learns what CPython's thread start-up routine is.  0, or -1 with an exception. */
int wf_thread_learn(void);

/* hook_disk.c: the rest of a read of which `got` bytes are there, from a regular file; as preadv, or from the
 * file's own position if `offset` is negative. */
ssize_t wf_disk_read_rest(struct wf_worker *worker, int fd, const struct iovec *iov, int count,
                          off64_t offset, ssize_t got);
/* Is it a file on another machine, or of another process, whose answers may be long in coming? */
bool wf_disk_is_remote(int fd);

/* hook_connection.c: does a close of `fd` wait until what was sent has arrived?  May change errno. */
bool wf_socket_lingers(int fd);

/* hook_lockfile.c: fcntl with F_SETLKW or F_OFD_SETLKW. */
int wf_lockfile_fcntl(struct wf_worker *worker, int fd, int command, long arg);

/* hook_signal.c: how many of Python's handlers have run; whoever waits for one compares. */
unsigned wf_signal_count(void);

/* hook_signal.c: handlers that CPython installed before our hook was there, and back. */
void wf_signal_wrap_all(void);
void wf_signal_unwrap_all(void);

/* Is `address` in the object that contains CPython? */
bool wf_hook_in_python(const void *address);

#endif
