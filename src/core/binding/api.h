/* api.h - what the functions that Python calls share: times as Python gives them, and the way out of a park.
 *
 * A function of the API parks attached, so whatever ended its park it sees to itself:
 *
 *     wake = wf_park(worker, reason, deadline_ns);
 *     take back what was told to whoever should wake us; what was handed over meanwhile is not given back
 *     if (what we waited for has come) return it
 *     if (wf_see_to_interrupt(worker, wake) < 0) return NULL;
 *     if (wake == WF_TIMED_OUT) ...
 */
#ifndef WF_API_H
#define WF_API_H

#include "sched.h"

/* A number of seconds as nanoseconds, rounded up; at most WF_NEVER, and 0 if negative.  -1 with an exception. */
int64_t wf_seconds_to_ns(PyObject *seconds);

/* When an argument `timeout`, in seconds, or NULL or None for no limit, will be over.  -1 with an exception, as no
 * deadline is negative. */
int64_t wf_deadline_from(PyObject *timeout);

/* After a park in the API that ended with `wake`: what interrupts waits, such as Python's signal handlers.  0, or -1 with
 * the exception that ends the wait. */
int wf_see_to_interrupt(struct wf_worker *worker, enum wf_wake wake);

#endif
