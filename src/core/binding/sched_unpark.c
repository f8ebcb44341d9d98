/* sched_unpark.c - what makes parked fibers runnable: an unpark, a cancellation, and whatever a look has found.
 *
 * On the worker's own OS thread that is done at once.  From elsewhere it is a wish in the fiber's inbox node, fulfilled
 * when its worker next looks.  A wish names a park, so one that comes late is ignored.
 */
#include "sched_core.h"

#include "cancel.h"

static void make_runnable(struct wf_worker *worker, struct wf_fiber *fiber, enum wf_wake wake)
{
    wf_assert(fiber->state == WF_PARKED, "only a parked fiber can be unparked");
    fiber->park_id = 0;
    fiber->wake = wake;
    fiber->state = WF_RUNNABLE;
    wf_run_queue_push(&worker->runq, fiber);
    if (fiber->timed && wake != WF_TIMED_OUT)
        wf_timer_forget(&worker->timers); /* asks whether entries are live: after the park has ended */
    fiber->timed = false;
}

static inline void unpark_here(struct wf_worker *worker, struct wf_fiber *fiber, uint64_t park_id)
{
    if (fiber->state == WF_PARKED && fiber->park_id == park_id)
        make_runnable(worker, fiber, WF_WOKEN);
}

/* A fiber has one inbox node, so several wishes melt into the newest.  The owner takes the node
 * back (posted = false) before he reads the wish: a wish stored too late for that posts the node again. */
static void unpark_elsewhere(struct wf_fiber *fiber, uint64_t park_id)
{
    uint64_t wanted = atomic_load(&fiber->inbox_park);

    while (wanted < park_id && !atomic_compare_exchange_weak(&fiber->inbox_park, &wanted, park_id))
        ;
    if (!atomic_exchange(&fiber->inbox_posted, true))
        wf_inbox_post(&fiber->worker->inbox, &fiber->inbox_node);
}

void wf_unpark(struct wf_fiber *fiber, uint64_t park_id)
{
    if (fiber->worker == wf_this_worker)
        unpark_here(fiber->worker, fiber, park_id);
    else
        unpark_elsewhere(fiber, park_id);
}

/* {=== Cancellation ===} */

/* A park that goes on has its timer set for the old moment; it shall begin anew. */
static void see_cancel(struct wf_worker *worker, struct wf_fiber *fiber)
{
    if (fiber == worker->root)
        wf_sched_note_scopes(worker);
    if (fiber->state == WF_PARKED && !fiber->shielded)
        make_runnable(worker, fiber, atomic_load(&fiber->cancel_at_ns) == 0 ? WF_INTERRUPTED : WF_WOKEN);
}

void wf_sched_update_cancel(struct wf_fiber *fiber)
{
    wf_cancel_update(fiber);
    if (fiber->worker == wf_this_worker)
        see_cancel(fiber->worker, fiber);
    else if (!atomic_exchange(&fiber->inbox_posted, true))
        wf_inbox_post(&fiber->worker->inbox, &fiber->inbox_node);
}

/* {=== Signals for one of them ===} */

static void see_signal(struct wf_worker *worker, struct wf_fiber *fiber)
{
    if (fiber->state == WF_PARKED && !fiber->shielded)
        make_runnable(worker, fiber, WF_INTERRUPTED);
}

void wf_sched_signal(struct wf_fiber *fiber)
{
    if (fiber->worker == wf_this_worker) {
        see_signal(fiber->worker, fiber);
        return;
    }
    atomic_store(&fiber->signalled, true);
    if (!atomic_exchange(&fiber->inbox_posted, true))
        wf_inbox_post(&fiber->worker->inbox, &fiber->inbox_node);
}

/* {=== What a look has found ===} */

bool wf_sched_timer_is_live(const struct wf_timer *timer)
{
    const struct wf_fiber *fiber = timer->owner;
    return fiber->state == WF_PARKED && fiber->park_id == timer->token;
}

static void inbox_deliver(struct wf_worker *worker)
{
    struct wf_inbox_node *node = wf_inbox_take(&worker->inbox);

    while (node != NULL) {
        struct wf_fiber *fiber = wf_container_of(node, struct wf_fiber, inbox_node);
        node = node->next; /* before the node may be posted again */
        atomic_store(&fiber->inbox_posted, false);
        unpark_here(worker, fiber, atomic_load(&fiber->inbox_park));
        if (wf_cancel_is_possible(fiber))
            see_cancel(worker, fiber);
        if (wf_unlikely(atomic_exchange(&fiber->signalled, false)))
            see_signal(worker, fiber);
    }
}

static void timers_fire(struct wf_worker *worker)
{
    struct wf_timer timer;

    while (wf_timer_pop(&worker->timers, worker->now_ns, &timer)) {
        struct wf_fiber *fiber = timer.owner;
        if (wf_sched_timer_is_live(&timer))
            make_runnable(worker, fiber, WF_TIMED_OUT);
    }
}

/* Python runs signal handlers in the main thread only, so that must be woken for them. */
static void interrupt_deliver(struct wf_worker *worker)
{
    struct wf_fiber *main = worker->signals_to;

    if (main != NULL && main->state == WF_PARKED && atomic_exchange(&worker->interrupted, false))
        make_runnable(worker, main, WF_INTERRUPTED);
}

void wf_deliver(struct wf_worker *worker)
{
    worker->since_poll = 0;
    worker->now_ns = wf_now_ns();
    atomic_store_explicit(&worker->clock_ns, worker->now_ns, memory_order_relaxed);
    inbox_deliver(worker);
    timers_fire(worker);
    wf_reactor_doubt(&worker->reactor, worker->now_ns);
    if (wf_unlikely(atomic_exchange_explicit(&worker->doubt_all, false, memory_order_relaxed)))
        wf_reactor_doubt_all(&worker->reactor);
    if (wf_unlikely(atomic_load(&worker->interrupted)))
        interrupt_deliver(worker);
}
