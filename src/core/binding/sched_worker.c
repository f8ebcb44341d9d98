/* sched_worker.c - what the scheduler keeps for a worker: made, bound to an OS thread, carried over a fork.
 *
 * worker.c says when; sched.h what each of these is for.
 */
#include "sched_core.h"

#include "cancel.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void io_wake(struct wf_io_waiter *waiter)
{
    wf_unpark(waiter->owner, waiter->token);
}

bool wf_sched_init(struct wf_worker *worker)
{
    wf_timer_init(&worker->timers, wf_sched_timer_is_live);
    wf_list_init(&worker->quiet_waiters);
    wf_vessels_init(&worker->vessels, wf_vessel_main);
    return wf_run_queue_reserve(&worker->runq, 1) && wf_timer_reserve(&worker->timers, 1);
}

void wf_sched_term(struct wf_worker *worker)
{
    wf_timer_term(&worker->timers);
    free(worker->runq.ring);
}

bool wf_sched_open(struct wf_worker *worker)
{
    worker->os_thread = pthread_self();
    worker->tid = (pid_t)syscall(SYS_gettid);
    worker->watched.since_ns = 0; /* the watchdog has not looked at it yet */
    atomic_store(&worker->clock_ns, wf_now_ns());
    if (wf_inbox_init(&worker->inbox) < 0)
        return false;
    if (wf_reactor_init(&worker->reactor, worker->inbox.event_fd, io_wake) == 0)
        return true;
    wf_inbox_term(&worker->inbox);
    return false;
}

void wf_sched_shut(struct wf_worker *worker)
{
    wf_reactor_term(&worker->reactor);
    wf_inbox_term(&worker->inbox);
}

void wf_sched_set_root(struct wf_worker *worker, struct wf_fiber *root)
{
    root->vessel = &worker->root_vessel;
    root->vessel->fiber = root;
    root->tstate = wf_tstate_bound();
    root->state = WF_RUNNING;
    worker->root = worker->current = worker->signals_to = root;
}

void wf_sched_drop_root(struct wf_worker *worker)
{
    worker->root->state = WF_FREE;
    wf_fiber_free(worker->root, &worker->spare_fibers);
    worker->root = NULL;
}

/* The timers and the pooled vessels are not carried over: the other green threads are gone, and CPython is about to delete
 * their thread states.  The reactor and the inbox share descriptors with the parent: new ones. */
void wf_sched_reborn(struct wf_worker *worker)
{
    struct wf_fiber *self = worker->current;
    bool is_root = self == worker->root;

    if (!is_root)
        worker->root = NULL;
    worker->signals_to = self; /* CPython, too, makes the forking thread the main one */
    worker->live = is_root ? 0 : 1;
    worker->outside = 0;
    worker->told.fiber = NULL;
    wf_cancel_after_fork_child(self);
    wf_sched_note_scopes(worker);
    worker->runq.len = 0;
    wf_timer_term(&worker->timers);
    wf_sched_shut(worker);
    atomic_store(&worker->interrupted, false);
    if (!wf_sched_init(worker) || !wf_sched_open(worker))
        wf_panic(__func__, "no descriptors or memory for a scheduler after fork");
}
