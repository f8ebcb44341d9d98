/* hook_rwlock.c - the read-write locks of C libraries.
 *
 * Like their mutexes (hook_mutex.c): taken with the real try, released with the real unlock, waited for in the table of
 * waitlist.h, and a green thread that has one for writing is its owner (glibc_lock.h).
 *
 * An unlock wakes the first who waits.  If that is a reader, others may come in beside him: he wakes the next.
 *
 * Not kept: a lock that prefers writers holds readers back for writers among OS threads only.  Green writers that wait
 * are unknown to it.
 */
#include "glibc_lock.h"
#include "hook.h"
#include "waitlist.h"

#include <errno.h>

static int (*real_pthread_rwlock_rdlock)(pthread_rwlock_t *);
static int (*real_pthread_rwlock_timedrdlock)(pthread_rwlock_t *, const struct timespec *);
static int (*real_pthread_rwlock_clockrdlock)(pthread_rwlock_t *, clockid_t, const struct timespec *);
static int (*real_pthread_rwlock_wrlock)(pthread_rwlock_t *);
static int (*real_pthread_rwlock_trywrlock)(pthread_rwlock_t *);
static int (*real_pthread_rwlock_timedwrlock)(pthread_rwlock_t *, const struct timespec *);
static int (*real_pthread_rwlock_clockwrlock)(pthread_rwlock_t *, clockid_t, const struct timespec *);
static int (*real_pthread_rwlock_unlock)(pthread_rwlock_t *);

/* {=== Taking it ===} */

static bool is_written_here(const struct wf_worker *worker, const pthread_rwlock_t *rwlock)
{
    return wf_rwlock_thread(rwlock) == worker->tid;
}

static int try_read(struct wf_worker *worker, void *rwlock)
{
    (void)worker;
    return pthread_rwlock_tryrdlock(rwlock);
}

static int try_write(struct wf_worker *worker, void *rwlock)
{
    int error = real_pthread_rwlock_trywrlock(rwlock);

    if (error == 0)
        *wf_rwlock_serial(rwlock) = worker->current->serial;
    return error;
}

static int lock(struct wf_worker *worker, pthread_rwlock_t *rwlock,
                int (*try)(struct wf_worker *worker, void *rwlock), int64_t deadline_ns)
{
    struct wf_lock wanted = {rwlock, try, wf_rwlock_is_shared(rwlock), WF_PARK_RWLOCK};
    int error = try(worker, rwlock);

    if (wf_likely(error != EBUSY))
        return error;
    if (is_written_here(worker, rwlock) && wf_is_owner(worker, *wf_rwlock_serial(rwlock)))
        return EDEADLK;
    error = wf_lock_wait(worker, &wanted, deadline_ns);
    if (error == 0 && try == try_read)
        wf_wake_one(rwlock);
    return error;
}

static int hook_pthread_rwlock_rdlock(pthread_rwlock_t *rwlock)
{
    struct wf_worker *worker = wf_hook_worker();

    if (wf_likely(worker == NULL))
        return real_pthread_rwlock_rdlock(rwlock);
    return lock(worker, rwlock, try_read, WF_NEVER);
}

static int hook_pthread_rwlock_wrlock(pthread_rwlock_t *rwlock)
{
    struct wf_worker *worker = wf_hook_worker();

    if (wf_likely(worker == NULL))
        return real_pthread_rwlock_wrlock(rwlock);
    return lock(worker, rwlock, try_write, WF_NEVER);
}

static int hook_pthread_rwlock_trywrlock(pthread_rwlock_t *rwlock)
{
    struct wf_worker *worker = wf_hook_worker();

    if (wf_likely(worker == NULL))
        return real_pthread_rwlock_trywrlock(rwlock);
    return try_write(worker, rwlock);
}

static int hook_pthread_rwlock_clockrdlock(pthread_rwlock_t *rwlock, clockid_t clock,
                                           const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_pthread_rwlock_clockrdlock(rwlock, clock, until);
    return lock(worker, rwlock, try_read, wf_deadline_at(clock, until));
}

static int hook_pthread_rwlock_clockwrlock(pthread_rwlock_t *rwlock, clockid_t clock,
                                           const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_pthread_rwlock_clockwrlock(rwlock, clock, until);
    return lock(worker, rwlock, try_write, wf_deadline_at(clock, until));
}

static int hook_pthread_rwlock_timedrdlock(pthread_rwlock_t *rwlock, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_pthread_rwlock_timedrdlock(rwlock, until);
    return hook_pthread_rwlock_clockrdlock(rwlock, CLOCK_REALTIME, until);
}

static int hook_pthread_rwlock_timedwrlock(pthread_rwlock_t *rwlock, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_pthread_rwlock_timedwrlock(rwlock, until);
    return hook_pthread_rwlock_clockwrlock(rwlock, CLOCK_REALTIME, until);
}

/* {=== Releasing it ===} */

static int release(struct wf_worker *worker, pthread_rwlock_t *rwlock)
{
    if (is_written_here(worker, rwlock))
        *wf_rwlock_serial(rwlock) = 0;
    return real_pthread_rwlock_unlock(rwlock);
}

static int hook_pthread_rwlock_unlock(pthread_rwlock_t *rwlock)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = wf_likely(worker == NULL) ? real_pthread_rwlock_unlock(rwlock) : release(worker, rwlock);

    wf_let_in(worker, rwlock);
    return error;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_rwlock_rdlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_timedrdlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_clockrdlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_wrlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_trywrlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_timedwrlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_clockwrlock, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_rwlock_unlock, WF_HOOK_LIBRARY),
};

WF_HOOK_FAMILY(rwlock);
