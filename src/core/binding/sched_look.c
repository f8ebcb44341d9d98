/* sched_look.c - looking at what has happened, and sleeping until something does.
 *
 * A look asks the kernel (reactor), other OS threads (inbox) and the clock (timers), and makes runnable who was
 * waiting for what it found.  Who has nobody to run sleeps in the look, until the next deadline, edge or
 * message; or, if the clock is virtual, makes it jump to the next deadline instead.
 *
 * Two strangers have a hand in it: who wants to know that a worker has something to do again (preempt.c), and who
 * judges how long to wait for what cannot happen by itself (deadlock.c).
 */
#include "sched_core.h"

/* {=== Who wants to know that a worker is busy ===} */

static _Atomic(void (*)(void)) when_busy;

void wf_sched_when_busy(void (*call)(void))
{
    atomic_store(&when_busy, call);
}

void wf_tell_busy(void)
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

/* {=== Looking ===} */

static void collect(struct wf_worker *worker, int64_t timeout_ns)
{
    bool message = wf_reactor_poll(&worker->reactor, timeout_ns);

    worker->polls++;
    wf_inbox_end_poll(&worker->inbox, message);
}

void wf_look(struct wf_worker *worker)
{
    if (worker->reactor.waiting > 0)
        collect(worker, 0);
    wf_deliver(worker);
}

void wf_sched_pass_time(void)
{
    if (wf_clock_stands())
        wf_clock_asked(wf_clock, 2 * WF_POLL_EVERY);
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
    wf_tell_busy();
    wf_deliver(worker);
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
    wf_deliver(worker);
}

/* {=== Sleeping ===} */

/* Those who wait for it have priority over time. */
static void tell_quiet(struct wf_worker *worker)
{
    struct wf_list *node;

    wf_look(worker);
    if (worker->runq.len > 0)
        return;
    while ((node = wf_list_pop_front(&worker->quiet_waiters)) != NULL) {
        struct wf_quiet_waiter *waiter = wf_container_of(node, struct wf_quiet_waiter, link);
        wf_unpark(waiter->fiber, waiter->park_id);
    }
}

/* CPython locks its list of thread states, as in wf_give_vessel. */
static void trim(struct wf_worker *worker)
{
    worker->now_ns = wf_now_ns();
    worker->passing++;
    wf_vessels_trim(&worker->vessels, worker->live, worker->now_ns);
    worker->passing--;
}

void wf_look_and_sleep(struct wf_worker *worker)
{
    if (wf_unlikely(wf_vessels_trim_wanted(&worker->vessels, worker->live)))
        trim(worker);
    if (wf_unlikely(!wf_list_empty(&worker->quiet_waiters)))
        tell_quiet(worker);
    else if (wf_clock_stands())
        look_and_jump(worker);
    else
        look_for(worker, sleep_ns(worker));
}
