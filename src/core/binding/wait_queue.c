/* wait_queue.c - the parks of those who wait for weft's own objects; wait_queue.h has the idea. */
#include "wait_queue.h"

#include "api.h"

#include <time.h>

unsigned wf_wait_epoch;

/* {=== When nobody parks any more ===} */

/* How often it is looked. */
#define LOOK_NS WF_NS_PER_MS

/* The interpreter is being torn down: green threads stay parked, but other OS threads may still serve us. */
static enum wf_wait_end wait_without_parking(struct wf_wait *wait, int64_t deadline_ns)
{
    const struct timespec pause = {.tv_nsec = LOOK_NS};

    Py_BEGIN_ALLOW_THREADS
    nanosleep(&pause, NULL);
    Py_END_ALLOW_THREADS
    if (wait->served != WF_UNSERVED)
        return WF_WAIT_SERVED;
    if (PyErr_CheckSignals() < 0)
        return WF_WAIT_BROKEN;
    return wf_now_ns() >= deadline_ns ? WF_WAIT_EXPIRED : WF_WAIT_AGAIN;
}

/* {=== Parking ===} */

enum wf_wait_end wf_wait_park_begun(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                                    const void *object, int64_t deadline_ns)
{
    enum wf_wake wake;

    wf_check(wait->fiber == worker->current && wait->park_id == wait->fiber->park_id, "a wait is parked by who waits");
    if (wf_unlikely(worker->passing > 0))
        return wait_without_parking(wait, deadline_ns);
    worker->current->awaited = (intptr_t)object;
    wake = wf_park(worker, reason, deadline_ns);
    if (wf_likely(wait->served != WF_UNSERVED))
        return WF_WAIT_SERVED;
    /* Python's signal handlers run in here, and whoever runs meanwhile may serve us. */
    if (wf_see_to_interrupt(worker, wake) < 0)
        return WF_WAIT_BROKEN;
    if (wait->served != WF_UNSERVED)
        return WF_WAIT_SERVED;
    wf_assert(wait->by == NULL, "a place was served, and its wait was not (W1)");
    return wake == WF_TIMED_OUT ? WF_WAIT_EXPIRED : WF_WAIT_AGAIN;
}

enum wf_wait_end wf_wait_park(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                              const void *object, int64_t deadline_ns)
{
    if (wait->served != WF_UNSERVED)
        return WF_WAIT_SERVED;
    wait->park_id = wf_park_begin(worker);
    return wf_wait_park_begun(worker, wait, reason, object, deadline_ns);
}

enum wf_wait_end wf_wait_until_served(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                                      const void *object, int64_t deadline_ns)
{
    enum wf_wait_end end;

    do
        end = wf_wait_park(worker, wait, reason, object, deadline_ns);
    while (end == WF_WAIT_AGAIN);
    wf_wait_leave(wait);
    return end;
}

void wf_wait_after_fork_child(void)
{
    wf_wait_epoch++;
}
