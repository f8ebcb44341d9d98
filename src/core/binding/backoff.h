/* backoff.h - waiting for what gives no event: look again, soon at first, then less often.
 *
 *     struct wf_backoff backoff = wf_backoff_begin(worker, WF_PARK_CHILD, deadline_ns);
 *     while (not yet there)
 *         switch (wf_backoff_wait(&backoff)) ...
 */
#ifndef WF_BACKOFF_H
#define WF_BACKOFF_H

#include "sched.h"

#define WF_BACKOFF_FIRST_NS (WF_NS_PER_MS / 2)
#define WF_BACKOFF_LAST_NS (20 * WF_NS_PER_MS)

struct wf_backoff {
    struct wf_worker *worker;
    enum wf_reason reason;
    int64_t deadline_ns;
    int64_t pause_ns; /* until the next look */
};

static inline struct wf_backoff wf_backoff_begin(struct wf_worker *worker, enum wf_reason reason,
                                                 int64_t deadline_ns)
{
    return (struct wf_backoff){worker, reason, deadline_ns, WF_BACKOFF_FIRST_NS};
}

/* Parks for a while.  WF_WOKEN: look again; WF_TIMED_OUT: the deadline has come; WF_INTERRUPTED. */
static inline enum wf_wake wf_backoff_wait(struct wf_backoff *backoff)
{
    int64_t until_ns = wf_deadline(backoff->pause_ns);
    bool last = until_ns >= backoff->deadline_ns;
    enum wf_wake wake;

    if (backoff->pause_ns < WF_BACKOFF_LAST_NS)
        backoff->pause_ns *= 2;
    backoff->worker->outside++;
    wf_park_begin(backoff->worker);
    wake = wf_park(backoff->worker, backoff->reason, last ? backoff->deadline_ns : until_ns);
    backoff->worker->outside--;
    return wake == WF_TIMED_OUT && !last ? WF_WOKEN : wake;
}

#endif
