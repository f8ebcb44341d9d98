/* hook_join.c - waiting for the end of a thread, which may be a green one or an OS thread.
 *
 * CPython joins what its pthread_create made, which after weft.install() is a green thread.  C libraries join the OS
 * threads that they made, and nothing tells us when one of those ends: a green thread tries now and then.
 * (An OS thread of the offload pool could wait instead, but a join may last as long as the program,
 * and the pool is for calls that end.)
 */
#include "hook.h"

#include <errno.h>
#include <pthread.h>
#include <threads.h>

static int (*real_pthread_join)(pthread_t, void **);
static int (*real_pthread_timedjoin_np)(pthread_t, void **, const struct timespec *);
static int (*real_pthread_clockjoin_np)(pthread_t, void **, clockid_t, const struct timespec *);
static int (*real_thrd_join)(thrd_t, int *);

#define FIRST_PAUSE_NS (WF_NS_PER_MS / 8)
#define LAST_PAUSE_NS (16 * WF_NS_PER_MS)

/* {=== A green thread ===} */

static void wait_for_end(struct wf_worker *worker, struct wf_fiber *fiber)
{
    struct wf_joiner joiner;

    for (;;) {
        joiner.fiber = worker->current;
        joiner.park_id = wf_park_begin(worker);
        if (!wf_fiber_add_joiner(fiber, fiber->serial, &joiner))
            return;
        worker->current->awaited = (intptr_t)fiber;
        wf_park_shielded(worker, WF_PARK_JOIN, WF_NEVER);
        wf_fiber_remove_joiner(&joiner);
    }
}

static int join_green(struct wf_fiber *fiber, void **result)
{
    struct wf_worker *worker = wf_this_worker;

    if (worker != NULL)
        wait_for_end(worker, fiber);
    else
        /* An OS thread without green threads waits for one of another's. CPython joins only threads that have
         * said they are exiting, so this is short. */
        while (fiber->state != WF_DONE)
            sched_yield();
    if (result != NULL)
        *result = NULL;
    wf_sched_reap(fiber);
    return 0;
}

/* {=== An OS thread ===} */

static int join_os(struct wf_worker *worker, pthread_t thread, void **result, int64_t deadline_ns)
{
    int64_t pause_ns = FIRST_PAUSE_NS;
    int error;

    if (pthread_equal(thread, pthread_self()))
        return real_pthread_join(thread, result); /* it refuses */
    while ((error = pthread_tryjoin_np(thread, result)) == EBUSY) {
        int64_t until_ns = wf_deadline(pause_ns);
        if (deadline_ns != WF_NEVER && wf_now_ns() >= deadline_ns)
            return ETIMEDOUT;
        worker->outside++;
        wf_park_begin(worker);
        wf_park_shielded(worker, WF_PARK_OS_THREAD, until_ns < deadline_ns ? until_ns : deadline_ns);
        worker->outside--;
        if (pause_ns < LAST_PAUSE_NS)
            pause_ns *= 2;
    }
    return error;
}

static int hook_pthread_join(pthread_t thread, void **result)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);
    struct wf_worker *worker = wf_hook_worker();

    if (fiber != NULL)
        return join_green(fiber, result);
    if (worker == NULL)
        return real_pthread_join(thread, result);
    return join_os(worker, thread, result, WF_NEVER);
}

static int hook_pthread_clockjoin_np(pthread_t thread, void **result, clockid_t clock,
                                     const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || until == NULL || !wf_timespec_is_valid(until) || !wf_clock_is_known(clock))
        return real_pthread_clockjoin_np(thread, result, clock, until);
    return join_os(worker, thread, result, wf_deadline_at(clock, until));
}

static int hook_pthread_timedjoin_np(pthread_t thread, void **result, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_pthread_timedjoin_np(thread, result, until);
    return hook_pthread_clockjoin_np(thread, result, CLOCK_REALTIME, until);
}

/* C11's: inside libc, a pthread_t whose result is a number. */
static int hook_thrd_join(thrd_t thread, int *result)
{
    struct wf_worker *worker = wf_hook_worker();
    void *end = NULL;

    if (worker == NULL)
        return real_thrd_join(thread, result);
    if (join_os(worker, (pthread_t)thread, &end, WF_NEVER) != 0)
        return thrd_error;
    if (result != NULL)
        *result = (int)(intptr_t)end;
    return thrd_success;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_join, WF_HOOK_ALL),
    WF_HOOK(pthread_timedjoin_np, WF_HOOK_ALL),
    WF_HOOK(pthread_clockjoin_np, WF_HOOK_ALL),
    WF_HOOK(thrd_join, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(join);
