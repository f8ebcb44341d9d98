/* hook_once.c - pthread_once and barriers: waiting for one another by counting.
 *
 * pthread_once.  If the routine parks in one green thread and another of the same OS thread comes to the same
 * place, the real call would stop the OS thread, and with it the routine.  So a green thread makes the
 * real call only when nobody is running the routine.  Between that look and the call only
 * another OS thread can begin to run it, and that one does not need ours to finish.
 *
 * pthread_barrier_wait has no way to arrive without waiting, so the whole call is offloaded.
 */
#include "hook.h"
#include "offload.h"
#include "waitlist.h"

#include <errno.h>
#include <pthread.h>
#include <threads.h>

static int (*real_pthread_once)(pthread_once_t *, void (*)(void));
static void (*real_call_once)(once_flag *, void (*)(void));
static int (*real_pthread_barrier_wait)(pthread_barrier_t *);

/* {=== Once ===} */

static __thread const pthread_once_t *own_once;
static __thread pthread_once_t own_value;

static void note_value(void)
{
    own_value = __atomic_load_n(own_once, __ATOMIC_RELAXED);
}

/* What glibc writes into a pthread_once_t while its routine runs.  It counts forks in there, because a routine that
 * was running elsewhere when we forked must be run again. */
static pthread_once_t running_value(void)
{
    pthread_once_t once = PTHREAD_ONCE_INIT;

    own_once = &once;
    pthread_once(&once, note_value);
    return own_value;
}

static int try_once(struct wf_worker *worker, void *once)
{
    pthread_once_t value = __atomic_load_n((pthread_once_t *)once, __ATOMIC_ACQUIRE);

    (void)worker;
    return value != PTHREAD_ONCE_INIT && value == running_value() ? EBUSY : 0;
}

static int hook_pthread_once(pthread_once_t *once, void (*routine)(void))
{
    struct wf_worker *worker = wf_hook_worker();
    struct wf_lock running = {once, try_once, false, WF_PARK_ONCE};
    int error;

    if (worker != NULL && wf_unlikely(try_once(worker, once) == EBUSY))
        wf_lock_wait(worker, &running, WF_NEVER);
    error = real_pthread_once(once, routine);
    wf_wake_all(once);
    return error;
}

/* glibc's once_flag is a pthread_once_t. */
static void hook_call_once(once_flag *flag, void (*routine)(void))
{
    hook_pthread_once((pthread_once_t *)flag, routine);
}

/* {=== Barriers ===} */

static int hook_pthread_barrier_wait(pthread_barrier_t *barrier)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_pthread_barrier_wait(barrier)
                          : (int)wf_offload(worker, WF_OFFLOAD_WAIT, real_pthread_barrier_wait, (long)barrier);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_once, WF_HOOK_LIBRARY),
    WF_HOOK(call_once, WF_HOOK_ALL),
    WF_HOOK(pthread_barrier_wait, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(once);
