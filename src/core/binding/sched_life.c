/* sched_life.c - a fiber's life as the scheduler keeps it: admitted, given a vessel, over.
 *
 * A fiber is admitted when there is room for it wherever it may have to be (I2), and gets a vessel as late as
 * possible, when it is its turn: RAW ones before, since whoever made them wants to hear of failure.  A GREEN one for which
 * there is no vessel then is *stillborn*: its end is told to who waits for it, and it never runs.
 */
#include "sched_core.h"

#include "cancel.h"

#include <errno.h>

struct wf_sched_green wf_sched_green;

void wf_sched_set_green(void (*run)(struct wf_fiber *fiber), void (*stillborn)(struct wf_fiber *fiber))
{
    wf_sched_green = (struct wf_sched_green){run, stillborn};
}

/* {=== Vessels ===} */

void wf_board(struct wf_vessel *vessel, struct wf_fiber *fiber)
{
    vessel->fiber = fiber;
    fiber->vessel = vessel;
    if (fiber->kind == WF_GREEN) {
        fiber->tstate = vessel->tstate;
        fiber->attached = true;
        wf_tstate_begin(vessel->tstate, wf_fiber_ident(fiber), wf_vessel_stack_size(vessel));
    }
}

bool wf_give_vessel(struct wf_worker *worker, struct wf_fiber *fiber)
{
    struct wf_vessel *vessel;

    /* CPython locks its list of thread states with a lock like any other.  Who leaves has parked already and
     * cannot park again for that. */
    worker->passing++;
    vessel = wf_vessel_take(&worker->vessels, worker->green_stack_size, false);
    worker->passing--;
    if (vessel == NULL)
        return false;
    wf_board(vessel, fiber);
    return true;
}

/* {=== The end ===} */

void wf_discharge(struct wf_worker *worker, struct wf_fiber *fiber)
{
    if (fiber == worker->signals_to)
        worker->signals_to = NULL;
    wf_assert(worker->live > 0, "more fibers have ended than begun");
    fiber->state = WF_DONE;
    fiber->vessel = NULL;
    worker->live--;
    worker->active--;
    wf_cancel_forget(fiber);
    wf_fiber_end(fiber, wf_unpark);
    if (!fiber->joinable) {
        fiber->state = WF_FREE;
        wf_fiber_free(fiber, &fiber->worker->spare_fibers);
    }
}

void wf_stillborn(struct wf_worker *worker, struct wf_fiber *fiber, PyThreadState *leaver, bool attached)
{
    worker->passing++; /* the leaver is parked already: what is called now must not park */
    if (!attached)
        wf_tstate_attach(leaver);
    wf_sched_green.stillborn(fiber);
    wf_discharge(worker, fiber);
    if (!attached)
        wf_tstate_detach(leaver);
    worker->passing--;
}

void wf_sched_reap(struct wf_fiber *fiber)
{
    if (fiber->state == WF_DONE) {
        fiber->state = WF_FREE;
        wf_fiber_free(fiber, &fiber->worker->spare_fibers);
    } else {
        fiber->joinable = false;
    }
}

/* {=== The beginning ===} */

static bool admit(struct wf_worker *worker, struct wf_fiber *fiber)
{
    size_t live = worker->live + 2; /* the root, and this one */

    if (!wf_run_queue_reserve(&worker->runq, live) || !wf_timer_reserve(&worker->timers, live))
        return false;
    worker->live++;
    if (++worker->active == 1)
        wf_tell_busy();
    worker->started++;
    if (worker->live > worker->peak_live)
        worker->peak_live = worker->live;
    wf_vessels_note_live(&worker->vessels, worker->live);
    fiber->state = WF_NEW;
    wf_run_queue_push(&worker->runq, fiber);
    return true;
}

void wf_sched_note_scopes(struct wf_worker *worker)
{
    struct wf_belongings *own = worker->root ? wf_fiber_has(worker->root) : NULL;
    size_t before = worker->active;

    worker->active = worker->live + (own != NULL && (own->scopes != NULL || wf_cancel_is_possible(worker->root)));
    if (before == 0 && worker->active > 0)
        wf_tell_busy();
}

bool wf_sched_start_green(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size)
{
    worker->green_stack_size = stack_size;
    return admit(worker, fiber);
}

bool wf_sched_start_raw(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size)
{
    struct wf_vessel *vessel = wf_vessel_take(&worker->vessels, stack_size, true);

    if (vessel == NULL)
        return false;
    wf_board(vessel, fiber);
    if (admit(worker, fiber))
        return true;
    wf_vessel_release(&worker->vessels, vessel);
    fiber->vessel = NULL;
    errno = ENOMEM;
    return false;
}
