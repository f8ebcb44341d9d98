/* sched.c - whose turn it is: the one loop, the switch, parking and yielding.  sched.h has the idea.
 *
 * The loop is wf_next_runnable().  It does, in this order:
 *
 *   1  every WF_POLL_EVERY switches, look: inbox, timers, reactor, without sleeping;
 *   2  take the first fiber of the run queue, if there is one;
 *   3  otherwise let go of the GIL, and look again, sleeping until the next deadline, edge or message.
 *      (A virtual clock jumps to the next deadline instead: sched_look.c.)
 *
 * It runs on the stack of whoever parks or ends, and returns the fiber to switch to,
 * which may be the caller himself.
 *
 * Rejected: a hub (a fiber that only polls: two switches per park instead of one);
 *           switching straight to a fiber that becomes runnable (starves the reactor, and makes
 *           the order of execution a surprise); stealing started fibers (compilers and the
 *           interpreter keep addresses of thread-local variables across calls).
 */
#include "sched_core.h"

#include "cancel.h"

#include <errno.h>

/* How long ready calls may go on before the others get a turn, and how often we ask the clock. */
#define SLICE_NS (2 * WF_NS_PER_MS)
#define READY_CALLS 16

/* {=== Taking the next ===} */

struct wf_fiber *wf_next_runnable(struct wf_worker *worker, PyThreadState **attached_to)
{
    if (wf_unlikely(++worker->since_poll >= WF_POLL_EVERY)) {
        wf_sched_pass_time();
        wf_look(worker);
    }
    while (worker->runq.len == 0) {
        if (*attached_to != NULL) {
            wf_tstate_detach(*attached_to);
            *attached_to = NULL;
        }
        wf_look_and_sleep(worker);
    }
    if (wf_unlikely(worker->seed.on))
        return wf_run_queue_choose(&worker->runq, &worker->seed, worker->current);
    return wf_run_queue_pop(&worker->runq);
}

/* The running fiber has stopped running (parked or yielded): runs others until it is its turn again. */
static void leave(struct wf_worker *worker, struct wf_fiber *self)
{
    PyThreadState *attached_to = self->attached ? self->tstate : NULL;
    struct wf_fiber *next;

    for (;;) {
        next = wf_next_runnable(worker, &attached_to);
        if (wf_likely(wf_prepare(worker, next)))
            break;
        wf_stillborn(worker, next, self->tstate, attached_to != NULL);
    }
    if (next == self) {
        self->state = WF_RUNNING;
        wf_arrive(self);
        return;
    }
    wf_switch_to(worker, self->vessel, next, attached_to);
    wf_arrive(self);
}

/* {=== Parking ===} */

static inline enum wf_wake park(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns,
                                bool shielded)
{
    struct wf_fiber *self = worker->current;
    int error = errno;

    wf_assert(self->state == WF_RUNNING && self->park_id != 0, "park without wf_park_begin");
    worker->parks++;
    wf_note_attachment(self);
    self->reason = reason;
    self->shielded = shielded;
    self->parked_ns = atomic_load_explicit(&worker->clock_ns, memory_order_relaxed);
    self->deadline_ns = deadline_ns;
    self->state = WF_PARKED;
    if (deadline_ns != WF_NEVER) {
        wf_timer_add(&worker->timers, deadline_ns, self, self->park_id);
        self->timed = true;
    }
    leave(worker, self);
    self->reason = WF_PARK_NONE;
    self->awaited = 0;
    errno = error;
    return self->wake;
}

/* The park is not begun if it would be cancelled at once. */
static enum wf_wake park_until_cancelled(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns)
{
    struct wf_fiber *self = worker->current;
    int error = errno;
    int64_t cancel_ns;
    enum wf_wake wake;

    /* The timers may not be looked at before somebody else ends the park: whoever is always served at once would go on. */
    if (wf_cancel_is_due(self)) {
        errno = error;
        self->park_id = 0;
        self->awaited = 0;
        return WF_INTERRUPTED;
    }
    cancel_ns = atomic_load(&self->cancel_at_ns);
    if (cancel_ns >= deadline_ns)
        return park(worker, reason, deadline_ns, false);
    wake = park(worker, reason, cancel_ns, false);
    return wake == WF_TIMED_OUT ? WF_INTERRUPTED : wake;
}

enum wf_wake wf_park(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns)
{
    if (wf_likely(!wf_cancel_is_possible(worker->current)))
        return park(worker, reason, deadline_ns, false);
    return park_until_cancelled(worker, reason, deadline_ns);
}

enum wf_wake wf_park_shielded(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns)
{
    return park(worker, reason, deadline_ns, true);
}

/* {=== Yielding ===} */

void wf_yield(struct wf_worker *worker)
{
    struct wf_fiber *self = worker->current;
    int error = errno;

    if (worker->runq.len == 0) {
        if (++worker->since_poll < WF_POLL_EVERY)
            return;
        wf_sched_pass_time();
        wf_look(worker);
        if (worker->runq.len == 0)
            return;
    }
    wf_note_attachment(self);
    self->state = WF_RUNNABLE;
    wf_run_queue_push(&worker->runq, self);
    leave(worker, self);
    errno = error;
}

void wf_yield_after_look(struct wf_worker *worker)
{
    wf_look(worker); /* who has become runnable meanwhile goes before us */
    wf_yield(worker);
}

void wf_ready_call(struct wf_worker *worker)
{
    int64_t now;

    if (wf_likely(++worker->ready_calls % READY_CALLS != 0))
        return;
    now = wf_real_now_ns();
    if (wf_clock_stands()) {
        wf_yield_after_look(worker); /* not when it takes long, which would be chance */
    } else if (worker->ready_calls == READY_CALLS) {
        worker->slice_start_ns = now;
    } else if (now - worker->slice_start_ns > SLICE_NS) {
        worker->ready_calls = 0;
        wf_yield_after_look(worker); /* a full run queue must not keep the reactor waiting either */
    }
}
