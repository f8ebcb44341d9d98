/* sched_away.c - a fiber whose stack another OS thread runs on.  carry.h has the idea.
 *
 * Nobody may stand on the fiber's stack when it is handed over, and there is nobody to switch to yet: so its worker
 * changes to a stack of its own, the anteroom, hands it over from there, and looks for the next fiber on that stack.
 */
#include "sched_core.h"

/* Leaves the anteroom for the next fiber, which may be the one that has just left. */
static void leave_anteroom(struct wf_worker *worker, struct wf_fiber *gone)
{
    PyThreadState *attached_to = NULL;
    struct wf_fiber *next = wf_next_runnable(worker, &attached_to);

    while (wf_unlikely(!wf_prepare(worker, next))) {
        wf_stillborn(worker, next, gone->tstate, false);
        next = wf_next_runnable(worker, &attached_to);
    }
    wf_switch_to(worker, worker->anteroom, next, NULL);
}

static void anteroom_main(void *arg)
{
    struct wf_worker *worker = arg;

    for (;;) {
        struct wf_fiber *gone = worker->current;
        worker->departure.send(gone, worker->departure.arg);
        leave_anteroom(worker, gone);
    }
}

bool wf_sched_has_anteroom(struct wf_worker *worker)
{
    if (wf_likely(worker->anteroom != NULL))
        return true;
    worker->anteroom = wf_vessel_take(&worker->vessels, WF_SMALL_STACK_SIZE, true);
    if (worker->anteroom == NULL)
        return false;
    wf_context_init(&worker->anteroom->context, worker->anteroom->stack.top, anteroom_main, worker);
    return true;
}

void __attribute__((noinline)) wf_go_away(struct wf_worker *worker,
                                          void (*send)(struct wf_fiber *fiber, void *arg), void *arg)
{
    struct wf_fiber *self = worker->current;

    wf_park_begin(worker);
    worker->parks++;
    wf_note_attachment(self);
    wf_assert(!self->attached, "a green thread must let go of the GIL before it leaves its OS thread");
    self->reason = WF_PARK_OFFLOAD;
    self->parked_ns = atomic_load_explicit(&worker->clock_ns, memory_order_relaxed);
    self->deadline_ns = WF_NEVER;
    self->shielded = true;
    worker->outside++;
    self->state = WF_AWAY;
    worker->departure = (struct wf_departure){send, arg};
    wf_context_switch(&self->vessel->context, &worker->anteroom->context);
    /* Another OS thread: nothing thread-local of the old one may be used from here on. */
}

void __attribute__((noinline)) wf_go_home(struct wf_fiber *self, const struct wf_context *other)
{
    wf_context_switch(&self->vessel->context, other);
    /* And back. */
    self->worker->outside--;
    self->reason = WF_PARK_NONE;
    wf_arrive(self);
}

void wf_sched_is_home(struct wf_fiber *fiber, uint64_t park_id)
{
    wf_assert(fiber->state == WF_AWAY, "only who is away comes home");
    __atomic_store_n(&fiber->state, WF_PARKED, __ATOMIC_RELEASE);
    wf_unpark(fiber, park_id);
}
