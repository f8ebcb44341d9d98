/* hook_mutex.c - the mutexes of C libraries.
 *
 * A library that holds a mutex over a call which blocks (a log file's lock, a connection's) is right with OS threads.
 * On green threads the call parks, the next green thread of the same OS thread asks for the
 * mutex, and if that stopped the OS thread, the owner could never give it back.  So a
 * green thread waits for a mutex parked, in the table of waitlist.h.
 *
 * The mutex itself stays glibc's, and the truth: it is taken with the real trylock and released with the real unlock,
 * so OS threads, and code that is not hooked, share it with green threads.
 *
 * Mutexes that know their owner are owned by green threads: glibc_lock.h.
 *
 * These hooks are never in CPython's own object, where the GIL is made of a mutex and a condition variable.  C11's
 * mtx_... are calls of the same functions inside libc, where no hook reaches; they are hooked by name.
 *
 * Not kept: a green thread that waits for a mutex with a priority protocol lends nobody its priority.  A robust mutex
 * takes all green threads of an OS thread for one owner.
 */
#include "hook_mutex.h"

#include "glibc_lock.h"
#include "hook.h"
#include "waitlist.h"

#include <errno.h>
#include <threads.h>

static int (*real_pthread_mutex_lock)(pthread_mutex_t *);
static int (*real_pthread_mutex_trylock)(pthread_mutex_t *);
static int (*real_pthread_mutex_timedlock)(pthread_mutex_t *, const struct timespec *);
static int (*real_pthread_mutex_clocklock)(pthread_mutex_t *, clockid_t, const struct timespec *);
static int (*real_pthread_mutex_unlock)(pthread_mutex_t *);

static int (*real_mtx_lock)(mtx_t *);
static int (*real_mtx_trylock)(mtx_t *);
static int (*real_mtx_timedlock)(mtx_t *, const struct timespec *);
static int (*real_mtx_unlock)(mtx_t *);

/* {=== Taking it ===} */

/* Has a green thread of this OS thread, or its root, taken a mutex that knows its owner? */
static bool is_held_here(const struct wf_worker *worker, const pthread_mutex_t *mutex)
{
    return wf_mutex_thread(mutex) == worker->tid;
}

/* One that knows its owner, when it is not held here: glibc must not be asked then. */
static int take_owned(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    int error = real_pthread_mutex_trylock(mutex);

    if (error == 0 || error == EOWNERDEAD)
        *wf_mutex_serial(mutex) = worker->current->serial;
    return error;
}

static int try_owned(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    if (!is_held_here(worker, mutex))
        return take_owned(worker, mutex);
    return wf_is_owner(worker, *wf_mutex_serial(mutex)) ? real_pthread_mutex_trylock(mutex) : EBUSY;
}

static int try_plain(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    (void)worker;
    return real_pthread_mutex_trylock(mutex);
}

static int try_any(struct wf_worker *worker, void *mutex)
{
    return wf_mutex_is_owned(mutex) ? try_owned(worker, mutex) : try_plain(worker, mutex);
}

int wf_mutex_lock(struct wf_worker *worker, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    struct wf_lock lock = {mutex, try_any, wf_mutex_is_shared(mutex), WF_PARK_MUTEX};
    int error = try_any(worker, mutex);

    if (wf_likely(error != EBUSY))
        return error;
    /* Its owner again: the real call says what that means to such a mutex, and does not block. */
    if (wf_mutex_is_owned(mutex) && is_held_here(worker, mutex)
        && wf_is_owner(worker, *wf_mutex_serial(mutex)))
        return real_pthread_mutex_lock(mutex);
    return wf_lock_wait(worker, &lock, deadline_ns);
}

static int hook_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct wf_worker *worker = wf_hook_worker();

    if (wf_likely(worker == NULL))
        return real_pthread_mutex_lock(mutex);
    return wf_mutex_lock(worker, mutex, WF_NEVER);
}

static int hook_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    struct wf_worker *worker = wf_hook_worker();

    if (wf_likely(worker == NULL))
        return real_pthread_mutex_trylock(mutex);
    return try_any(worker, mutex);
}

static int hook_pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                        const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_pthread_mutex_clocklock(mutex, clock, until);
    return wf_mutex_lock(worker, mutex, wf_deadline_at(clock, until));
}

static int hook_pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_pthread_mutex_timedlock(mutex, until);
    return hook_pthread_mutex_clocklock(mutex, CLOCK_REALTIME, until);
}

/* {=== Releasing it ===} */

/* One that knows its owner and is held by this OS thread.  A mutex that says 0 beside the OS thread may have been taken
 * by our own code before it was hooked, so it is glibc that decides there. */
static int release_owned(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    uint64_t *serial = wf_mutex_serial(mutex);

    if (*serial != 0 && !wf_is_owner(worker, *serial))
        return EPERM;
    if (wf_mutex_is_held_once(mutex))
        *serial = 0;
    return real_pthread_mutex_unlock(mutex);
}

static inline int release(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    if (wf_mutex_is_owned(mutex) && is_held_here(worker, mutex))
        return release_owned(worker, mutex);
    return real_pthread_mutex_unlock(mutex);
}

int wf_mutex_unlock(struct wf_worker *worker, pthread_mutex_t *mutex)
{
    int error = release(worker, mutex);

    wf_wake_one(mutex);
    return error;
}

static int hook_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = wf_likely(worker == NULL) ? real_pthread_mutex_unlock(mutex) : release(worker, mutex);

    wf_let_in(worker, mutex);
    return error;
}

/* {=== C11 ===} */

/* glibc's mtx_t is a pthread_mutex_t under another name. */
static pthread_mutex_t *mutex_of(mtx_t *mtx)
{
    return (pthread_mutex_t *)mtx;
}

static int c11(int error)
{
    switch (error) {
    case 0: return thrd_success;
    case EBUSY: return thrd_busy;
    case ETIMEDOUT: return thrd_timedout;
    case ENOMEM: return thrd_nomem;
    default: return thrd_error;
    }
}

static int hook_mtx_lock(mtx_t *mtx)
{
    return c11(hook_pthread_mutex_lock(mutex_of(mtx)));
}

static int hook_mtx_trylock(mtx_t *mtx)
{
    return c11(hook_pthread_mutex_trylock(mutex_of(mtx)));
}

static int hook_mtx_timedlock(mtx_t *mtx, const struct timespec *until)
{
    return c11(hook_pthread_mutex_timedlock(mutex_of(mtx), until));
}

static int hook_mtx_unlock(mtx_t *mtx)
{
    return c11(hook_pthread_mutex_unlock(mutex_of(mtx)));
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_mutex_lock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_mutex_trylock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_mutex_timedlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_mutex_clocklock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_mutex_unlock, WF_HOOK_LIBRARY),
    WF_HOOK(mtx_lock, WF_HOOK_ALL),
    WF_HOOK(mtx_trylock, WF_HOOK_ALL),
    WF_HOOK(mtx_timedlock, WF_HOOK_ALL),
    WF_HOOK(mtx_unlock, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(mutex);
