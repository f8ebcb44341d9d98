/* wait_queue.c - the parks of those who wait for weft's own objects; wait_queue.h has the idea. */
#include "wait_queue.h"

#include "api.h"

unsigned wf_wait_epoch;

enum wf_wait_end wf_wait_park_begun(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                                    const void *object, int64_t deadline_ns)
{
    enum wf_wake wake;

    worker->current->awaited = (intptr_t)object;
    wake = wf_park(worker, reason, deadline_ns);
    if (wf_likely(wait->served != WF_UNSERVED))
        return WF_WAIT_SERVED;
    /* Python's signal handlers run in here, and whoever runs meanwhile may serve us. */
    if (wf_see_to_interrupt(worker, wake) < 0)
        return WF_WAIT_BROKEN;
    if (wait->served != WF_UNSERVED)
        return WF_WAIT_SERVED;
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
