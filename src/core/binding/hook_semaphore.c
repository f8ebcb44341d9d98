/* hook_semaphore.c - POSIX semaphores, which is where all of CPython's locks wait.
 *
 * threading.Lock, RLock, Condition, Event, the queues, the locks of buffered files and of imports, and (3.13+)
 * PyMutex all end in sem_wait, sem_clockwait and sem_post.  The GIL does not (it waits for a
 * condition variable), so catching these three separates the two exactly.
 *
 * The semaphore itself stays the kernel's and glibc's: its value is the truth, and OS threads wait
 * for it as ever.  Green threads wait in the table of waitlist.h.
 *
 * Process-shared semaphores (multiprocessing) are posted by processes that know nothing of our
 * table: their waiters try again now and then.
 */
#include "backoff.h"
#include "bystander.h"
#include "hook.h"
#include "interrupt.h"
#include "waitlist.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

static int (*real_sem_wait)(sem_t *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*real_sem_post)(sem_t *);

/* {=== Waiting ===} */

/* 0, EAGAIN (not to be had now) or another errno. */
static int try(sem_t *sem)
{
    return sem_trywait(sem) == 0 ? 0 : errno;
}

static bool is_shared(const sem_t *sem)
{
    /* glibc keeps what sem_init was told about sharing in the third word (FUTEX_SHARED is 128). */
    return ((const int *)sem)[2] != 0;
}

/* CPython's locks know no error but EINTR, and where they cannot be interrupted they try again: then we wait for it. */
static bool must_have_it(struct wf_worker *worker, enum wf_wake wake)
{
    return wake == WF_INTERRUPTED && wf_interrupt_errno(worker) == ECANCELED;
}

static enum wf_wake park_once(struct wf_worker *worker, int64_t deadline_ns, bool shielded)
{
    return shielded ? wf_park_shielded(worker, WF_PARK_SEMAPHORE, deadline_ns)
                    : wf_park(worker, WF_PARK_SEMAPHORE, deadline_ns);
}

/* 0 or an errno. */
static int wait_private(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    struct wf_waiter waiter = {.in_vain = false};
    enum wf_wake wake = WF_WOKEN;
    bool shielded = false;
    int error;

    do {
        wf_waiter_enter(&waiter, worker, sem);
        error = try(sem);
        if (error == EAGAIN)
            wake = park_once(worker, deadline_ns, shielded);
        wf_waiter_leave(&waiter);
        if (error == EAGAIN)
            error = try(sem);
        if (error == EAGAIN && !shielded && must_have_it(worker, wake)) {
            shielded = true;
            wake = WF_WOKEN;
        }
    } while (error == EAGAIN && wake == WF_WOKEN);
    if (error == EAGAIN)
        error = wake == WF_TIMED_OUT ? ETIMEDOUT : EINTR;
    return error;
}

static int wait_shared(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    struct wf_backoff backoff = wf_backoff_begin(worker, WF_PARK_SEMAPHORE, deadline_ns);
    int error;

    while ((error = try(sem)) == EAGAIN) {
        if (wf_now_ns() >= deadline_ns)
            return ETIMEDOUT;
        worker->current->awaited = (intptr_t)sem;
        if (wf_backoff_wait(&backoff) == WF_INTERRUPTED)
            return wf_interrupt_errno(worker);
    }
    return error;
}

static int wait_until(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    int before = errno;
    int error = try(sem);

    if (error == EAGAIN)
        error = is_shared(sem) ? wait_shared(worker, sem, deadline_ns)
                               : wait_private(worker, sem, deadline_ns);
    errno = error == 0 ? before : error;
    return error == 0 ? 0 : -1;
}

static int hook_sem_wait(sem_t *sem)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return is_shared(sem) ? real_sem_wait(sem) : wf_bystand(sem, real_sem_wait);
    return wait_until(worker, sem, WF_NEVER);
}

static int hook_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_sem_clockwait(sem, clock, until);
    return wait_until(worker, sem, wf_deadline_at(clock, until));
}

static int hook_sem_timedwait(sem_t *sem, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_sem_timedwait(sem, until);
    return hook_sem_clockwait(sem, CLOCK_REALTIME, until);
}

/* {=== Posting ===} */

static int hook_sem_post(sem_t *sem)
{
    int result = real_sem_post(sem);

    if (wf_likely(result == 0))
        wf_wake_one(sem);
    return result;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(sem_wait, WF_HOOK_ALL),
    WF_HOOK(sem_timedwait, WF_HOOK_ALL),
    WF_HOOK(sem_clockwait, WF_HOOK_ALL),
    WF_HOOK(sem_post, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(semaphore);
