/* hook_condition.c - the condition variables of C libraries.
 *
 * Green threads wait in the table of waitlist.h, OS threads in the real condition variable, and both may wait for the
 * same one.  A signal is meant for one of them; it is given to the real condition variable and to the
 * table, so it wakes one of either kind.  That is one more than was asked for, which
 * pthreads allows at any time, and nobody starves or is forgotten.
 *
 * A waiter enters the table before he releases the mutex, as he must not miss a signal that is given under it; and
 * from then on nothing parks him until he has said he is parked.
 *
 * The real wait releases the mutex inside libc, where no hook sees it.  So an OS thread that is about to wait, and
 * whose mutex a green thread waits for, lets that one go first, and reports that it was woken.
 *
 * Shared with other processes, whose signals wake no green thread: the waiter reports now and then that he was woken.
 */
#include "glibc_lock.h"
#include "hook.h"
#include "hook_mutex.h"
#include "waitlist.h"

#include <errno.h>
#include <threads.h>

static int (*real_pthread_cond_wait)(pthread_cond_t *, pthread_mutex_t *);
static int (*real_pthread_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_pthread_cond_clockwait)(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                                          const struct timespec *);
static int (*real_pthread_cond_signal)(pthread_cond_t *);
static int (*real_pthread_cond_broadcast)(pthread_cond_t *);

static int (*real_cnd_wait)(cnd_t *, mtx_t *);
static int (*real_cnd_timedwait)(cnd_t *, mtx_t *, const struct timespec *);
static int (*real_cnd_signal)(cnd_t *);
static int (*real_cnd_broadcast)(cnd_t *);

/* How long a wait lasts that may have missed another process's signal. */
#define SHARED_WAIT_NS (5 * WF_NS_PER_MS)

/* {=== Waiting ===} */

/* Parks until woken: true; or until the deadline: false. */
static bool park_until_woken(struct wf_worker *worker, struct wf_waiter *waiter, int64_t deadline_ns)
{
    enum wf_wake wake;

    do
        wake = wf_park_shielded(worker, WF_PARK_CONDITION, deadline_ns);
    while (wake != WF_TIMED_OUT && wf_waiter_stay(waiter, worker));
    return wf_waiter_leave(waiter);
}

static int wait_until(struct wf_worker *worker, pthread_cond_t *condition, pthread_mutex_t *mutex,
                      int64_t deadline_ns)
{
    bool shared = wf_condition_is_shared(condition);
    int64_t look_ns = shared ? wf_deadline(SHARED_WAIT_NS) : WF_NEVER;
    struct wf_waiter waiter = {.in_vain = false};
    int error;
    bool woken;

    wf_waiter_enter(&waiter, worker, condition);
    error = wf_mutex_unlock(worker, mutex);
    if (error != 0) {
        wf_waiter_leave(&waiter);
        return error;
    }
    woken = park_until_woken(worker, &waiter, look_ns < deadline_ns ? look_ns : deadline_ns);
    error = wf_mutex_lock(worker, mutex, WF_NEVER);
    if (error != 0 || woken || look_ns < deadline_ns)
        return error;
    return ETIMEDOUT;
}

/* The OS thread is about to wait.  True if it must not yet: it has let a green thread have the mutex. */
static bool must_look_again(pthread_mutex_t *mutex)
{
    if (wf_likely(!wf_is_waited_for(mutex)) || pthread_mutex_unlock(mutex) != 0)
        return false;
    wf_wake_one(mutex);
    sched_yield();
    pthread_mutex_lock(mutex);
    return true;
}

static int hook_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker != NULL)
        return wait_until(worker, condition, mutex, WF_NEVER);
    return must_look_again(mutex) ? 0 : real_pthread_cond_wait(condition, mutex);
}

static int hook_pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                                       const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (!wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_pthread_cond_clockwait(condition, mutex, clock, until);
    if (worker != NULL)
        return wait_until(worker, condition, mutex, wf_deadline_at(clock, until));
    return must_look_again(mutex) ? 0 : real_pthread_cond_clockwait(condition, mutex, clock, until);
}

static int hook_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                       const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (!wf_timespec_is_valid(until))
        return real_pthread_cond_timedwait(condition, mutex, until);
    if (worker != NULL)
        return wait_until(worker, condition, mutex,
                          wf_deadline_at(wf_condition_clock(condition), until));
    return must_look_again(mutex) ? 0 : real_pthread_cond_timedwait(condition, mutex, until);
}

/* {=== Signalling ===} */

static int hook_pthread_cond_signal(pthread_cond_t *condition)
{
    int error = real_pthread_cond_signal(condition);

    wf_wake_one(condition);
    return error;
}

static int hook_pthread_cond_broadcast(pthread_cond_t *condition)
{
    int error = real_pthread_cond_broadcast(condition);

    wf_wake_all(condition);
    return error;
}

/* {=== C11 ===} */

/* glibc's cnd_t and mtx_t are their pthread namesakes. */
static pthread_cond_t *condition_of(cnd_t *cnd)
{
    return (pthread_cond_t *)cnd;
}

static int c11(int error)
{
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

static int hook_cnd_wait(cnd_t *cnd, mtx_t *mtx)
{
    return c11(hook_pthread_cond_wait(condition_of(cnd), (pthread_mutex_t *)mtx));
}

static int hook_cnd_timedwait(cnd_t *cnd, mtx_t *mtx, const struct timespec *until)
{
    return c11(hook_pthread_cond_timedwait(condition_of(cnd), (pthread_mutex_t *)mtx, until));
}

static int hook_cnd_signal(cnd_t *cnd)
{
    return c11(hook_pthread_cond_signal(condition_of(cnd)));
}

static int hook_cnd_broadcast(cnd_t *cnd)
{
    return c11(hook_pthread_cond_broadcast(condition_of(cnd)));
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_cond_wait, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_cond_timedwait, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_cond_clockwait, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_cond_signal, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_cond_broadcast, WF_HOOK_LIBRARY),
    WF_HOOK(cnd_wait, WF_HOOK_ALL),
    WF_HOOK(cnd_timedwait, WF_HOOK_ALL),
    WF_HOOK(cnd_signal, WF_HOOK_ALL),
    WF_HOOK(cnd_broadcast, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(condition);
