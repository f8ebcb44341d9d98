/* sched.c - the run queue, the switch, and the one loop; sched.h has the idea.
 *
 * The loop is next_runnable().  It does, in this order:
 *
 *   1  every POLL_EVERY switches, look: inbox, timers, reactor, without sleeping;
 *   2  take the first fiber of the run queue, if there is one;
 *   3  otherwise let go of the GIL, and look again, sleeping until the next deadline, edge or message.
 *      (A virtual clock jumps to the next deadline instead: see "Virtual time".)
 *
 * It runs on the stack of whoever parks or ends, and returns the fiber to switch to,
 * which may be the caller himself.
 *
 * Rejected: a hub (a fiber that only polls: two switches per park instead of one);
 *           switching straight to a fiber that becomes runnable (starves the reactor, and makes
 *           the order of execution a surprise); stealing started fibers (compilers and the
 *           interpreter keep addresses of thread-local variables across calls).
 */
#include "sched.h"

#include "cancel.h"
#include "errqueue.h"
#include "thread_local.h"
#include "tstate.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Between two looks without sleeping.  A look costs a clock reading and, if anybody waits for a descriptor, a
 * system call of about 300 ns: 5 ns per switch. */
#define POLL_EVERY 64

/* How long ready calls may go on before the others get a turn, and how often we ask the clock. */
#define SLICE_NS (2 * WF_NS_PER_MS)
#define READY_CALLS 16

/* A run queue longer than this does not fit the first-level cache: fetch the next stacks ahead. */
#define PREFETCH_FROM 256

static void (*run_green)(struct wf_fiber *fiber);
static void (*stillborn_green)(struct wf_fiber *fiber);

void wf_sched_set_green(void (*run)(struct wf_fiber *fiber), void (*stillborn)(struct wf_fiber *fiber))
{
    run_green = run;
    stillborn_green = stillborn;
}

/* {=== Run queue ===} */

static bool runq_reserve(struct wf_run_queue *queue, size_t len)
{
    size_t capacity = queue->capacity ? queue->capacity : 64;
    struct wf_fiber **ring;

    if (len <= queue->capacity)
        return true;
    while (capacity < len)
        capacity *= 2;
    ring = malloc(capacity * sizeof *ring);
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < queue->len; i++)
        ring[i] = queue->ring[(queue->head + i) & (queue->capacity - 1)];
    free(queue->ring);
    queue->ring = ring;
    queue->capacity = capacity;
    queue->head = 0;
    return true;
}

static inline void runq_push(struct wf_run_queue *queue, struct wf_fiber *fiber)
{
    wf_assert(queue->len < queue->capacity, "no room for a live fiber (I2)");
    queue->ring[(queue->head + queue->len++) & (queue->capacity - 1)] = fiber;
}

/* GCC takes a void function that only prefetches for one without effect, and drops its calls unless they are inlined. */
static inline __attribute__((always_inline)) void fetch_lines(const void *address, int lines)
{
    for (int line = 0; line < lines; line++)
        __builtin_prefetch((const char *)address + line * 64);
}

/* A chain of three pointers leads to what a resumed fiber needs: fiber, vessel, stack pointer.  Each is followed one
 * step for a fiber nearer to its turn, so that no step waits for memory. */
static inline __attribute__((always_inline)) void fetch_ahead(const struct wf_run_queue *queue)
{
    const size_t mask = queue->capacity - 1;
    const struct wf_fiber *third = queue->ring[(queue->head + 2) & mask];
    const struct wf_fiber *second = queue->ring[(queue->head + 1) & mask];

    fetch_lines(queue->ring[(queue->head + 3) & mask], 2);
    if (third->vessel != NULL)
        fetch_lines(third->vessel, 2);
    if (second->vessel != NULL) {
        fetch_lines(second->vessel->context.sp, 10);
        fetch_lines(second->vessel->stack.chunk_lo, 5);
        fetch_lines(second->tstate, 5);
    }
}

static inline struct wf_fiber *runq_pop(struct wf_run_queue *queue)
{
    struct wf_fiber *fiber = queue->ring[queue->head];

    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->len--;
    if (queue->len > PREFETCH_FROM)
        fetch_ahead(queue);
    return fiber;
}

/* The seed's choice; the first one takes the place of the chosen.  Not who has just yielded, and stands last. */
static struct wf_fiber *runq_choose(struct wf_run_queue *queue, struct wf_seed *seed, const struct wf_fiber *leaver)
{
    size_t mask = queue->capacity - 1;
    bool yielded = queue->len > 1 && queue->ring[(queue->head + queue->len - 1) & mask] == leaver;
    struct wf_fiber **chosen = &queue->ring[(queue->head + wf_seed_choose(seed, queue->len - yielded)) & mask];
    struct wf_fiber *fiber = *chosen;

    *chosen = queue->ring[queue->head];
    queue->ring[queue->head] = fiber;
    return runq_pop(queue);
}

/* {=== What the scheduler keeps for a worker ===} */

static bool timer_is_live(const struct wf_timer *timer)
{
    const struct wf_fiber *fiber = timer->owner;
    return fiber->state == WF_PARKED && fiber->park_id == timer->token;
}

static void io_wake(struct wf_io_waiter *waiter)
{
    wf_unpark(waiter->owner, waiter->token);
}

static void vessel_main(void *arg);

bool wf_sched_init(struct wf_worker *worker)
{
    wf_timer_init(&worker->timers, timer_is_live);
    wf_list_init(&worker->quiet_waiters);
    wf_vessels_init(&worker->vessels, vessel_main);
    return runq_reserve(&worker->runq, 1) && wf_timer_reserve(&worker->timers, 1);
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

/* {=== Unparking ===} */

static void make_runnable(struct wf_worker *worker, struct wf_fiber *fiber, enum wf_wake wake)
{
    wf_assert(fiber->state == WF_PARKED, "only a parked fiber can be unparked");
    fiber->park_id = 0;
    fiber->wake = wake;
    fiber->state = WF_RUNNABLE;
    runq_push(&worker->runq, fiber);
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
    }
}

static void timers_fire(struct wf_worker *worker)
{
    struct wf_timer timer;

    while (wf_timer_pop(&worker->timers, worker->now_ns, &timer)) {
        struct wf_fiber *fiber = timer.owner;
        if (timer_is_live(&timer))
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

/* {=== Who wants to know that a worker is busy ===} */

static _Atomic(void (*)(void)) when_busy;

void wf_sched_when_busy(void (*call)(void))
{
    atomic_store(&when_busy, call);
}

/* After the store by which others see that the worker is not idle. */
static inline void tell_busy(void)
{
    void (*call)(void);

    atomic_thread_fence(memory_order_seq_cst);
    if (wf_likely(atomic_load_explicit(&when_busy, memory_order_relaxed) == NULL))
        return;
    call = atomic_exchange(&when_busy, NULL);
    if (call != NULL)
        call();
}

/* {=== Who wants to know that nothing can happen ===} */

static int64_t (*patience)(struct wf_worker *worker);

void wf_sched_when_quiet(int64_t (*ask)(struct wf_worker *worker))
{
    patience = ask;
}

/* {=== The loop ===} */

static void collect(struct wf_worker *worker, int64_t timeout_ns)
{
    bool message = wf_reactor_poll(&worker->reactor, timeout_ns);

    worker->polls++;
    wf_inbox_end_poll(&worker->inbox, message);
}

/* Whatever has happened makes its fibers runnable. */
static void deliver(struct wf_worker *worker)
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

static void look(struct wf_worker *worker)
{
    if (worker->reactor.waiting > 0)
        collect(worker, 0);
    deliver(worker);
}

void wf_sched_pass_time(void)
{
    if (wf_clock_stands())
        wf_clock_asked(wf_clock, 2 * POLL_EVERY);
}

/* How long nothing can happen by itself; negative: for ever. */
static int64_t quiet_ns(const struct wf_worker *worker)
{
    int64_t timer = wf_timer_next(&worker->timers);
    int64_t doubt = wf_reactor_next_doubt(&worker->reactor);
    int64_t deadline = timer < doubt ? timer : doubt;
    int64_t left;

    if (wf_vessels_trim_wanted(&worker->vessels, worker->live)
        && worker->vessels.trim_ns < deadline)
        deadline = worker->vessels.trim_ns;
    if (deadline == WF_NEVER)
        return -1;
    left = deadline - wf_now_ns();
    return left > 0 ? left : 0;
}

static int64_t sleep_ns(struct wf_worker *worker)
{
    int64_t quiet = quiet_ns(worker);

    return quiet < 0 && worker->reactor.waiting == 0 ? patience(worker) : quiet;
}

static void look_for(struct wf_worker *worker, int64_t timeout_ns)
{
    if (wf_inbox_begin_poll(&worker->inbox))
        collect(worker, timeout_ns);
    else
        wf_inbox_end_poll(&worker->inbox, false);
    tell_busy();
    deliver(worker);
}

/* {=== Virtual time ===} */

/* A registration may be stale (reactor.h, fact 5), which real time would bring to light. */
static bool doubt(struct wf_worker *worker)
{
    bool any = !worker->doubted && !wf_list_empty(&worker->reactor.doubted);

    worker->doubted = true;
    if (any)
        wf_reactor_doubt(&worker->reactor, WF_NEVER - 1);
    return any;
}

/* Time passes as it does outside. */
static void sleep_really(struct wf_worker *worker, int64_t next_ns)
{
    int64_t before_ns = wf_real_now_ns(), passed_ns, left_ns = next_ns - worker->clock.now_ns;

    look_for(worker, next_ns == WF_NEVER ? -1 : left_ns);
    passed_ns = wf_real_now_ns() - before_ns;
    wf_clock_jump(&worker->clock, worker->clock.now_ns + (passed_ns < left_ns ? passed_ns : left_ns));
}

/* Nobody can run: the next one is the one whose deadline comes first, unless something comes from outside. */
static void look_and_jump(struct wf_worker *worker)
{
    int64_t next_ns = wf_timer_next_live(&worker->timers);

    if (doubt(worker))
        return;
    if (worker->outside > 0)
        sleep_really(worker, next_ns);
    else if (next_ns == WF_NEVER)
        look_for(worker, worker->reactor.waiting > 0 ? -1 : patience(worker));
    else
        look_for(worker, worker->reactor.waiting > 0 ? worker->grace_ns : 0);
    worker->doubted = false;
    if (worker->runq.len > 0 || next_ns == WF_NEVER)
        return;
    if (worker->outside == 0 && next_ns > worker->clock.now_ns)
        wf_clock_jump(&worker->clock, next_ns);
    deliver(worker);
}

/* {=== Taking the next ===} */

/* Those who wait for it have priority over time. */
static void tell_quiet(struct wf_worker *worker)
{
    struct wf_list *node;

    look(worker);
    if (worker->runq.len > 0)
        return;
    while ((node = wf_list_pop_front(&worker->quiet_waiters)) != NULL) {
        struct wf_quiet_waiter *waiter = wf_container_of(node, struct wf_quiet_waiter, link);
        unpark_here(worker, waiter->fiber, waiter->park_id);
    }
}

static void look_and_sleep(struct wf_worker *worker)
{
    if (wf_unlikely(!wf_list_empty(&worker->quiet_waiters)))
        tell_quiet(worker);
    else if (wf_clock_stands())
        look_and_jump(worker);
    else
        look_for(worker, sleep_ns(worker));
}

/* Detached, with nothing runnable. */
static void trim(struct wf_worker *worker)
{
    worker->now_ns = wf_now_ns();
    worker->passing++; /* as in prepare() */
    wf_vessels_trim(&worker->vessels, worker->live, worker->now_ns);
    worker->passing--;
}

/* The fiber to run next.  `attached_to`: whose thread state we hold the GIL with, or NULL; it is let
 * go (and set to NULL) before sleeping. */
static struct wf_fiber *next_runnable(struct wf_worker *worker, PyThreadState **attached_to)
{
    if (wf_unlikely(++worker->since_poll >= POLL_EVERY)) {
        wf_sched_pass_time();
        look(worker);
    }
    while (worker->runq.len == 0) {
        if (*attached_to != NULL) {
            wf_tstate_detach(*attached_to);
            *attached_to = NULL;
        }
        if (wf_unlikely(wf_vessels_trim_wanted(&worker->vessels, worker->live)))
            trim(worker);
        look_and_sleep(worker);
    }
    return wf_likely(!worker->seed.on) ? runq_pop(&worker->runq) : runq_choose(&worker->runq, &worker->seed, worker->current);
}

/* {=== Switching ===} */

static void vessel_board(struct wf_vessel *vessel, struct wf_fiber *fiber)
{
    vessel->fiber = fiber;
    fiber->vessel = vessel;
    if (fiber->kind == WF_GREEN) {
        fiber->tstate = vessel->tstate;
        fiber->attached = true;
        wf_tstate_begin(vessel->tstate, wf_fiber_ident(fiber), wf_vessel_stack_size(vessel));
    }
}

/* Gives `next`, taken from the run queue, a vessel if it has none.  False: none could be had. */
static bool prepare(struct wf_worker *worker, struct wf_fiber *next)
{
    struct wf_vessel *vessel;

    if (wf_likely(next->vessel != NULL))
        return true;
    /* CPython locks its list of thread states with a lock like any other.  Who leaves has parked already and
     * cannot park again for that. */
    worker->passing++;
    vessel = wf_vessel_take(&worker->vessels, worker->green_stack_size, false);
    worker->passing--;
    if (vessel == NULL)
        return false;
    vessel_board(vessel, next);
    return true;
}

static void fiber_over(struct wf_worker *worker, struct wf_fiber *fiber)
{
    if (fiber == worker->signals_to)
        worker->signals_to = NULL;
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

/* The green thread ends before it began.  Needs the GIL, which the leaver may not have. */
static void stillborn(struct wf_worker *worker, struct wf_fiber *fiber, PyThreadState *leaver,
                      bool attached)
{
    worker->passing++; /* the leaver is parked already: what is called now must not park */
    if (!attached)
        wf_tstate_attach(leaver);
    stillborn_green(fiber);
    fiber_over(worker, fiber);
    if (!attached)
        wf_tstate_detach(leaver);
    worker->passing--;
}

/* Leaves `from` for `next`; `attached_to` as next_runnable left it. */
static inline void switch_to(struct wf_worker *worker, struct wf_vessel *from,
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

static inline void arrive(struct wf_fiber *self)
{
    if (!self->attached)
        wf_tstate_bind(self->tstate);
    else if (!wf_tstate_attached(self->tstate))
        wf_tstate_attach(self->tstate);
}

/* The running fiber has stopped running (parked or yielded): runs others until it is its turn again. */
static void leave(struct wf_worker *worker, struct wf_fiber *self)
{
    PyThreadState *attached_to = self->attached ? self->tstate : NULL;
    struct wf_fiber *next;

    for (;;) {
        next = next_runnable(worker, &attached_to);
        if (wf_likely(prepare(worker, next)))
            break;
        stillborn(worker, next, self->tstate, attached_to != NULL);
    }
    if (next == self) {
        self->state = WF_RUNNING;
        arrive(self);
        return;
    }
    switch_to(worker, self->vessel, next, attached_to);
    arrive(self);
}

/* How the running fiber stands to the GIL, noted for its return. */
static inline void note_attachment(struct wf_fiber *self)
{
    if (self->kind != WF_GREEN)
        /* CPython's own thread state; code inside may have bound another meanwhile. */
        self->tstate = wf_tstate_bound();
    self->attached = wf_tstate_attached(self->tstate);
}

static inline enum wf_wake park(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns,
                                bool shielded)
{
    struct wf_fiber *self = worker->current;
    int error = errno;

    wf_assert(self->state == WF_RUNNING && self->park_id != 0, "park without wf_park_begin");
    worker->parks++;
    note_attachment(self);
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

void wf_yield(struct wf_worker *worker)
{
    struct wf_fiber *self = worker->current;
    int error = errno;

    if (worker->runq.len == 0) {
        if (++worker->since_poll < POLL_EVERY)
            return;
        wf_sched_pass_time();
        look(worker);
        if (worker->runq.len == 0)
            return;
    }
    note_attachment(self);
    self->state = WF_RUNNABLE;
    runq_push(&worker->runq, self);
    leave(worker, self);
    errno = error;
}

void wf_yield_after_look(struct wf_worker *worker)
{
    look(worker); /* who has become runnable meanwhile goes before us */
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

/* {=== Away ===} */

/* Leaves the anteroom for the next fiber, which may be the one that has just left. */
static void leave_anteroom(struct wf_worker *worker, struct wf_fiber *gone)
{
    PyThreadState *attached_to = NULL;
    struct wf_fiber *next = next_runnable(worker, &attached_to);

    while (wf_unlikely(!prepare(worker, next))) {
        stillborn(worker, next, gone->tstate, false);
        next = next_runnable(worker, &attached_to);
    }
    switch_to(worker, worker->anteroom, next, NULL);
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
    note_attachment(self);
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
    arrive(self);
}

void wf_sched_is_home(struct wf_fiber *fiber, uint64_t park_id)
{
    __atomic_store_n(&fiber->state, WF_PARKED, __ATOMIC_RELEASE);
    wf_unpark(fiber, park_id);
}

/* {=== The life of a vessel ===} */

static void run(struct wf_fiber *fiber)
{
    if (fiber->kind == WF_GREEN) {
        if (!wf_tstate_attached(fiber->tstate))
            wf_tstate_attach(fiber->tstate);
        if (wf_unlikely(fiber->worker->seed.on))
            wf_seed_enter();
        run_green(fiber);
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
        next = next_runnable(worker, &attached_to);
        if (next->vessel == NULL && !vessel->raw
            && wf_vessel_stack_size(vessel) >= worker->green_stack_size) {
            /* It needs a stack and we have done with ours. */
            vessel_board(vessel, next);
            next->state = WF_RUNNING;
            worker->current = next;
            worker->switches++;
            return;
        }
        if (wf_likely(prepare(worker, next)))
            break;
        /* A raw vessel's thread state is gone, so there is no GIL to be had here; try again later. */
        runq_push(&worker->runq, next);
    }
    wf_vessel_release(&worker->vessels, vessel);
    switch_to(worker, vessel, next, attached_to);
}

static void vessel_main(void *arg)
{
    struct wf_vessel *vessel = arg;

    for (;;) {
        struct wf_fiber *fiber = vessel->fiber;
        struct wf_worker *worker = fiber->worker;
        run(fiber);
        wf_errqueue_end(fiber);
        wf_thread_locals_end(fiber);
        fiber_over(worker, fiber);
        vessel_next(worker, vessel);
    }
}

/* {=== Making green threads ===} */

static bool fiber_admit(struct wf_worker *worker, struct wf_fiber *fiber)
{
    size_t live = worker->live + 2; /* the root, and this one */

    if (!runq_reserve(&worker->runq, live) || !wf_timer_reserve(&worker->timers, live))
        return false;
    worker->live++;
    if (++worker->active == 1)
        tell_busy();
    worker->started++;
    if (worker->live > worker->peak_live)
        worker->peak_live = worker->live;
    wf_vessels_note_live(&worker->vessels, worker->live);
    fiber->state = WF_NEW;
    runq_push(&worker->runq, fiber);
    return true;
}

void wf_sched_note_scopes(struct wf_worker *worker)
{
    struct wf_belongings *own = worker->root ? wf_fiber_has(worker->root) : NULL;
    size_t before = worker->active;

    worker->active = worker->live + (own != NULL && (own->scopes != NULL || wf_cancel_is_possible(worker->root)));
    if (before == 0 && worker->active > 0)
        tell_busy();
}

bool wf_sched_start_green(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size)
{
    worker->green_stack_size = stack_size;
    return fiber_admit(worker, fiber);
}

bool wf_sched_start_raw(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size)
{
    struct wf_vessel *vessel = wf_vessel_take(&worker->vessels, stack_size, true);

    if (vessel == NULL)
        return false;
    vessel_board(vessel, fiber);
    if (fiber_admit(worker, fiber))
        return true;
    wf_vessel_release(&worker->vessels, vessel);
    fiber->vessel = NULL;
    errno = ENOMEM;
    return false;
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

/* {=== Fork ===} */

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
