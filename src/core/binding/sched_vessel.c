/* sched_vessel.c - what runs at the bottom of each green thread's stack: one green thread after another.
 *
 * Whoever has ended is still standing on his stack, so the stack looks for its next user itself.  One that
 * has no vessel yet takes this one, and nothing is switched; otherwise the vessel goes to the pool, suspended in the
 * middle of the search, and goes on there when somebody boards it.
 */
#include "sched_core.h"

#include "errqueue.h"
#include "thread_local.h"

#include <stdlib.h>

static void run(struct wf_fiber *fiber)
{
    if (fiber->kind == WF_GREEN) {
        if (!wf_tstate_attached(fiber->tstate))
            wf_tstate_attach(fiber->tstate);
        if (wf_unlikely(fiber->worker->seed.on))
            wf_seed_enter();
        wf_sched_green.run(fiber);
        wf_tstate_end(fiber->tstate);
    } else {
        /* CPython's thread start-up binds its thread state if it finds none bound. */
        wf_tstate_bind(NULL);
        fiber->start(fiber->arg);
    }
}

/* A forked child in which the forking green thread has ended has no main thread to go on: as with OS threads,
 * the last thread's end is the process's. */
static void last_one_out(struct wf_worker *worker)
{
    if (worker->root == NULL && worker->live == 0)
        exit(EXIT_SUCCESS);
}

/* Ends the vessel's fiber and finds the vessel another, or leaves it in the pool. */
static void vessel_next(struct wf_worker *worker, struct wf_vessel *vessel)
{
    struct wf_fiber *next;
    PyThreadState *attached_to = vessel->raw ? NULL : vessel->tstate;

    last_one_out(worker);
    for (;;) {
        next = wf_next_runnable(worker, &attached_to);
        if (next->vessel == NULL && !vessel->raw
            && wf_vessel_stack_size(vessel) >= worker->green_stack_size) {
            /* It needs a stack and we have done with ours. */
            wf_board(vessel, next);
            next->state = WF_RUNNING;
            worker->current = next;
            worker->switches++;
            return;
        }
        if (wf_likely(wf_prepare(worker, next)))
            break;
        /* A raw vessel's thread state is gone, so there is no GIL to be had here; try again later. */
        wf_run_queue_push(&worker->runq, next);
    }
    wf_vessel_release(&worker->vessels, vessel);
    wf_switch_to(worker, vessel, next, attached_to);
}

void wf_vessel_main(void *arg)
{
    struct wf_vessel *vessel = arg;

    for (;;) {
        struct wf_fiber *fiber = vessel->fiber;
        struct wf_worker *worker = fiber->worker;
        run(fiber);
        wf_errqueue_end(fiber);
        wf_thread_locals_end(fiber);
        wf_discharge(worker, fiber);
        vessel_next(worker, vessel);
    }
}
