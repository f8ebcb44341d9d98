/* sched.h - decides which green thread runs next on this OS thread.
 *
 * One worker = one OS thread = one run queue.  There is no hub: the green thread that parks picks
 * the next one and switches to it; if there is none it polls the reactor on its own
 * stack, and if it is itself the next one, nothing is switched at all.
 *
 *     inbox ---+
 *     timers --+--> run queue --> switch --> (runs) --> park(reason) --> somebody's waiter
 *     reactor -+        ^                                                     |
 *                       +------------------------ unpark ---------------------+
 *
 * Attached and detached.  A green thread parks either holding the GIL (it called weft) or having
 * released it (a hook caught a call inside a released-GIL region), and is resumed as
 * it left.  The leaver does what he can, the arriver the rest:
 *
 *     leaver -> arriver       besides the stack switch
 *     attached -> attached    the leaver swaps thread states
 *     attached -> detached    the leaver detaches; the arriver binds
 *     detached -> attached    the arriver attaches
 *     detached -> detached    the arriver binds
 *
 * How to wait for something, so that no wake is lost and no stale wake believed:
 *
 *     do {
 *         id = wf_park_begin(worker);        a fresh name for this park
 *         tell (fiber, id) to whoever shall wake us
 *         wake = wf_park(worker, reason, deadline_ns);
 *         take back what was told
 *     } while (not yet what we waited for, and wake == WF_WOKEN);
 *
 * A wake that names another park is ignored, so a late one costs nothing; one that comes too
 * early cannot happen, because wakes are delivered by this OS thread only (others go
 * through the inbox).  Spurious wakes are allowed; hence the loop.
 *
 * Invariants
 *   I1  RUNNABLE or NEW <=> on the run queue exactly once.
 *   I2  The run queue and the timer heap have room for every live fiber, reserved when it
 *       is made: parking and unparking never allocate and never fail.
 *   I3  At most WF_POLL_EVERY switches happen between two looks at timers, inbox and reactor.
 *   I4  Only the worker's own OS thread touches its run queue, timers, reactor and vessels.
 */
#ifndef WF_SCHED_H
#define WF_SCHED_H

#include "fiber.h"
#include "run_queue.h"
#include "seed.h"
#include "vessel.h"

#include "../engine/inbox.h"
#include "../engine/reactor.h"
#include "../engine/timer.h"

#include <pthread.h>
#include <sys/types.h>

/* deadlock.c: a time in which nothing can happen by itself.  Counts of parks name a situation. */
struct wf_quiet {
    uint64_t parks, judged;
    int64_t look_ns, pause_ns;
};

/* interrupt.c: who was told last of a cancellation, and what had happened until then. */
struct wf_told {
    struct wf_fiber *fiber; /* NULL: nobody, or it does not matter any more */
    unsigned signals, trips;
};

/* Who waits for all others to be parked; lives on the waiter's stack. */
struct wf_quiet_waiter {
    struct wf_list link;
    struct wf_fiber *fiber;
    uint64_t park_id;
};

struct wf_worker {
    struct wf_fiber *current;
    size_t live;              /* fibers besides the root */
    size_t active;            /* live, and the root if it is in a scope or was cancelled; 0: hooks pass straight through */
    unsigned passing;         /* > 0: in a signal handler or finalizing: hooks pass straight through */
    unsigned since_poll;      /* switches since the last look (I3) */
    unsigned ready_calls;     /* hooked calls that found their descriptor ready since the last switch */
    int64_t now_ns;           /* at the last look */
    _Atomic int64_t clock_ns; /* about now: the last look, the worker's own or the watchdog's; for dumps */
    int64_t slice_start_ns;
    uint64_t last_park_id;
    struct wf_run_queue runq;
    struct wf_timer_heap timers;
    struct wf_reactor reactor;
    struct wf_inbox inbox;
    atomic_bool interrupted;  /* a signal arrived that Python wants to handle in the root fiber */
    atomic_bool doubt_all;    /* another OS thread closed a descriptor that is registered here */
    atomic_bool preempt;      /* the watchdog wants the running fiber to give way */
    const char *refused;      /* why it did not when it was last asked to; NULL: it did */
    struct {
        uint64_t switches;
        int64_t since_ns;     /* the watchdog last saw something change, or tried to */
        int64_t stalled_since_ns; /* at all looks since then nobody switched and somebody waited */
        bool stall_told;
    } watched;                /* the watchdog's */
    struct wf_quiet quiet;
    struct wf_told told;      /* interrupt.c's */
    struct wf_seed seed;
    struct wf_clock clock;    /* virtual; wf_clock leads to it, or nobody looks at it */
    int64_t grace_ns;         /* really waited before it jumps, if anybody waits for a descriptor */
    unsigned outside;         /* parks that end in real time, whatever the clock says: clock.h */
    bool doubted;             /* since it last moved, all who may have been forgotten were woken */
    struct wf_list quiet_waiters; /* struct wf_quiet_waiter */
    struct wf_fiber *spare_fibers; /* freed ones, for the next; guarded by fiber.c's lock */
    struct wf_fiber *root;    /* NULL in a forked child of another fiber */
    struct wf_fiber *signals_to; /* Python's main thread: the root, or who forked; NULL when that is over */
    size_t green_stack_size;  /* as the last spawn wanted it; 0: the default */
    struct wf_vessel root_vessel;
    struct wf_vessel *anteroom; /* where it looks for the next fiber while nobody's stack is to be stood on; or NULL */
    struct wf_departure {
        void (*send)(struct wf_fiber *fiber, void *arg);
        void *arg;
    } departure;              /* of the current fiber, to be done in the anteroom */
    struct wf_vessels vessels;
    pthread_t os_thread;
    pid_t tid;
    struct wf_worker *next;   /* registry of all workers */
    /* what statistics() tells */
    uint64_t started, switches, parks, polls;
    size_t peak_live;
};

/* The calling OS thread's worker, or NULL. */
extern __thread struct wf_worker *wf_this_worker __attribute__((tls_model("initial-exec")));

/* The calling OS thread's worker, made if need be; attached.  NULL with a Python exception. */
struct wf_worker *wf_worker_get(void);

/* For Python: adds `change` to the int at `offset` in the running fiber, one of its counts of reasons.  None, or NULL
 * with an exception. */
PyObject *wf_add_reason(PyObject *change, size_t offset);

/* Calls visit(worker, arg) for each worker, under the registry's lock. */
void wf_worker_each(void (*visit)(struct wf_worker *worker, void *arg), void *arg);

/* Is `fd` one of the descriptors by which the calling OS thread's worker sleeps and is woken?  Those who close
 * all descriptors there are (daemons, say) do not mean ours. */
static inline bool wf_worker_owns_fd(const struct wf_worker *worker, int fd)
{
    return fd >= 0 && (fd == worker->reactor.epoll_fd || fd == worker->inbox.event_fd);
}

/* Somebody is about to put another file on the number `fd`.  If it is one of ours, moves ours away. */
void wf_worker_leave_fd(int fd);

/* How many there are. */
size_t wf_worker_count(void);

/* {=== What worker.c needs of the scheduler ===} */

/* A zeroed worker's queues; false when memory is short. */
bool wf_sched_init(struct wf_worker *worker);
void wf_sched_term(struct wf_worker *worker);

/* What binds a worker to the calling OS thread: its identity, reactor and inbox.  False with errno. */
bool wf_sched_open(struct wf_worker *worker);
void wf_sched_shut(struct wf_worker *worker);

/* Makes `root` the fiber that stands for what the OS thread is doing; and drops it when the OS thread ends. */
void wf_sched_set_root(struct wf_worker *worker, struct wf_fiber *root);
void wf_sched_drop_root(struct wf_worker *worker);

/* In the child of a fork: only the forking fiber goes on. */
void wf_sched_reborn(struct wf_worker *worker);

/* {=== Making and ending green threads ===} */

/* Puts a new GREEN fiber on the run queue, to run on at least this much stack (0: the default size).  False when
 * memory is short. */
bool wf_sched_start_green(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size);

/* Puts a new RAW fiber, with its stack (0: the default size), on the run queue.  False with errno when memory is short. */
bool wf_sched_start_raw(struct wf_worker *worker, struct wf_fiber *fiber, size_t stack_size);

/* What a GREEN fiber runs, attached, and what is done with one that got no stack.  Set once. */
void wf_sched_set_green(void (*run)(struct wf_fiber *fiber), void (*stillborn)(struct wf_fiber *fiber));

/* A joinable RAW fiber that is DONE and was joined, or any that was detached. */
void wf_sched_reap(struct wf_fiber *fiber);

/* {=== Parking ===} */

/* Names the coming park of the running fiber. */
static inline uint64_t wf_park_begin(struct wf_worker *worker)
{
    return worker->current->park_id = ++worker->last_park_id;
}

/* Suspends the running fiber until its park is ended, it is cancelled or the deadline has come.  Keeps errno. */
enum wf_wake wf_park(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns);

/* The same for who has no way to fail: no cancellation ends it. */
enum wf_wake wf_park_shielded(struct wf_worker *worker, enum wf_reason reason, int64_t deadline_ns);

/* Ends the park `park_id` of `fiber`, if it is still in it.  From any OS thread. */
void wf_unpark(struct wf_fiber *fiber, uint64_t park_id);

/* Lets every other runnable fiber go first.  Keeps errno. */
void wf_yield(struct wf_worker *worker);

/* The same, and looks first at what has happened meanwhile.  For who has not looked for long. */
void wf_yield_after_look(struct wf_worker *worker);

/* What is due in `fiber` may have changed: computes it, and ends its park if that matters to it.  From any OS thread, with
 * the GIL. */
void wf_sched_update_cancel(struct wf_fiber *fiber);

/* The root has entered its first scope, or left its last, or is to be cancelled: what it waits for next must see that,
 * even if there is no green thread left by then. */
void wf_sched_note_scopes(struct wf_worker *worker);
/* Somebody has done much without parking: with a virtual clock, time may have to pass for that. */
void wf_sched_pass_time(void);

/* A hooked call succeeded without parking: yields if the fiber has held the OS thread for long. */
void wf_ready_call(struct wf_worker *worker);

/* {=== Away: a fiber whose stack another OS thread runs on (carry.h) ===} */

/* Makes the anteroom unless there is one; false when memory is short. */
bool wf_sched_has_anteroom(struct wf_worker *worker);

/* The running fiber, detached, leaves its OS thread.  In the anteroom send(fiber, arg) is called, which has another OS
 * thread switch to the fiber: there this returns. */
void wf_go_away(struct wf_worker *worker, void (*send)(struct wf_fiber *fiber, void *arg), void *arg);

/* The calling fiber, which is away, leaves the other OS thread for what that was doing before (`other`).  Returns on its own. */
void wf_go_home(struct wf_fiber *self, const struct wf_context *other);

/* From that other OS thread, once it does not stand on the fiber's stack any more: the fiber is as one unparked. */
void wf_sched_is_home(struct wf_fiber *fiber, uint64_t park_id);

/* {=== Signals, fork and the end ===} */

/* Calls call(), once, when the next worker wakes from sleep or gets its first green thread.  NULL: not any more. */
void wf_sched_when_busy(void (*call)(void));

/* Asks patience(worker) how long to sleep when nothing can happen by itself, for as long as that is so; negative:
 * for ever.  Set once. */
void wf_sched_when_quiet(int64_t (*patience)(struct wf_worker *worker));

/* A signal has been sent to this fiber: if it is parked, its wait is interrupted.  With the GIL. */
void wf_sched_signal(struct wf_fiber *fiber);

/* Async-signal-safe: the root fiber of the main OS thread shall see to its signals. */
void wf_sched_interrupt(void);

/* Takes a pending interrupt that has not ended a park.  For the root fiber's API calls. */
static inline bool wf_take_interrupt(struct wf_worker *worker)
{
    return wf_unlikely(atomic_load_explicit(&worker->interrupted, memory_order_relaxed))
           && worker->current == worker->signals_to && atomic_exchange(&worker->interrupted, false);
}

/* From now on the calling OS thread switches no more: hooks pass through and parked fibers stay parked. */
void wf_worker_close(struct wf_worker *worker);

/* pthread_atfork handlers. */
void wf_sched_before_fork(void);
void wf_sched_after_fork_parent(void);
void wf_sched_after_fork_child(void);

#endif
