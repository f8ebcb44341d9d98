/* sched_core.h - what the scheduler's files share; nobody else includes it.  sched.h has the idea.
 *
 *     run_queue.h      who may run now, in order
 *     sched_unpark.c   what makes parked fibers runnable
 *     sched_look.c     looking at what has happened, and sleeping until something does
 *     sched_life.c     a fiber is admitted, gets a vessel, is over
 *     sched.c          whose turn it is; parking, yielding and the switch
 *     sched_vessel.c   what runs at the bottom of each green thread's stack
 *     sched_away.c     ... while another OS thread runs on it
 *     sched_worker.c   what the scheduler keeps for a worker: made, bound to an OS thread, carried over a fork
 *
 * Each uses only those above it.  All of this runs on the worker's own OS thread, but for what says otherwise.
 */
#ifndef WF_SCHED_CORE_H
#define WF_SCHED_CORE_H

#include "sched.h"
#include "tstate.h"

/* Between two looks without sleeping.  A look costs a clock reading and, if anybody waits for a descriptor, a
 * system call of about 300 ns: 5 ns per switch. */
#define WF_POLL_EVERY 64

/* {=== sched_unpark.c ===} */

/* Whatever a look has found makes its fibers runnable. */
void wf_deliver(struct wf_worker *worker);

/* Does the timer name a park that goes on? */
bool wf_sched_timer_is_live(const struct wf_timer *timer);

/* {=== sched_look.c ===} */

/* Has anything happened?  Without sleeping. */
void wf_look(struct wf_worker *worker);

/* The same for who has nobody to run: sleeps until something happens.  Detached. */
void wf_look_and_sleep(struct wf_worker *worker);

/* After the store by which others see that the worker is not idle. */
void wf_tell_busy(void);

/* {=== sched_life.c ===} */

/* As wf_sched_set_green has it. */
struct wf_sched_green {
    void (*run)(struct wf_fiber *fiber);
    void (*stillborn)(struct wf_fiber *fiber);
};
extern struct wf_sched_green wf_sched_green;

/* The vessel is the fiber's from now on. */
void wf_board(struct wf_vessel *vessel, struct wf_fiber *fiber);

/* Finds a vessel for a fiber that has none.  False: none could be had. */
bool wf_give_vessel(struct wf_worker *worker, struct wf_fiber *fiber);

/* Gives `next`, taken from the run queue, a vessel if it has none.  False: none could be had. */
static inline bool wf_prepare(struct wf_worker *worker, struct wf_fiber *next)
{
    return wf_likely(next->vessel != NULL) || wf_give_vessel(worker, next);
}

/* The green thread ends before it began.  Needs the GIL, which the leaver may not have. */
void wf_stillborn(struct wf_worker *worker, struct wf_fiber *fiber, PyThreadState *leaver, bool attached);

/* The fiber is over, and its vessel not its own any more. */
void wf_discharge(struct wf_worker *worker, struct wf_fiber *fiber);

/* {=== sched.c ===} */

/* The fiber to run next, taken from the run queue.  `attached_to`: whose thread state we hold the GIL with, or NULL;
 * it is let go (and set to NULL) before sleeping. */
struct wf_fiber *wf_next_runnable(struct wf_worker *worker, PyThreadState **attached_to);

/* How the running fiber stands to the GIL, noted for its return. */
static inline void wf_note_attachment(struct wf_fiber *self)
{
    if (self->kind != WF_GREEN)
        /* CPython's own thread state; code inside may have bound another meanwhile. */
        self->tstate = wf_tstate_bound();
    self->attached = wf_tstate_attached(self->tstate);
}

/* Leaves `from` for `next`; `attached_to` as wf_next_runnable left it. */
static inline void wf_switch_to(struct wf_worker *worker, struct wf_vessel *from,
                                struct wf_fiber *next, PyThreadState *attached_to)
{
    /* Since 3.13 this lets go of the GIL and asks for it: as long as nobody is RUNNING, nobody is preempted. */
    if (attached_to != NULL) {
        if (next->attached)
            wf_tstate_swap(attached_to, next->tstate);
        else
            wf_tstate_detach(attached_to);
    }
    next->state = WF_RUNNING;
    worker->current = next;
    worker->switches++;
    worker->ready_calls = 0;
    wf_context_switch(&from->context, &next->vessel->context);
}

/* The fiber is back: runs on its own stack. */
static inline void wf_arrive(struct wf_fiber *self)
{
    if (!self->attached)
        wf_tstate_bind(self->tstate);
    else if (!wf_tstate_attached(self->tstate))
        wf_tstate_attach(self->tstate);
}

/* {=== sched_vessel.c ===} */

/* What runs in a vessel; never returns. */
void wf_vessel_main(void *vessel);

#endif
