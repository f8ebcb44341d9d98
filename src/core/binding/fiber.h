/* fiber.h - a green thread as the scheduler sees it.
 *
 * A *fiber* is what can be scheduled: a state, a name for the current park, an owner (the worker).
 * What it runs in is its *vessel* (vessel.h).  A new fiber has none yet; a burst of ten
 * thousand short green threads may all pass through one.
 *
 * Three kinds of fiber:
 *   ROOT   the computation an OS thread was running when it got a worker.  Its vessel has no
 *          stack of ours and borrows the OS thread's own thread state.
 *   GREEN  made by weft.spawn; runs a Python callable on the vessel's thread state.
 *   RAW    made by CPython's own pthread_create; runs a C function, which
 *          makes and deletes its thread state itself.
 *
 * States, who may run, and who owns the stack:
 *   FREE      on a free list.  No vessel.
 *   NEW       on the run queue, never ran.  No vessel (RAW: a vessel prepared, not entered).
 *   RUNNABLE  on the run queue; its context is saved on its own stack.
 *   RUNNING   the worker's current fiber; the registers are in the processor.
 *   PARKED    on no queue; its context is saved; whoever knows (fiber, park_id) may unpark it.
 *   AWAY      parked, but another OS thread runs on its stack: nobody may unpark it before that has
 *             left, and then it is PARKED.
 *   DONE      over.  No vessel.  Kept only until a joinable RAW fiber has been joined.
 *
 * Invariants
 *   F1  Memory of fibers is never given back: a stale pointer can be read, and a stale
 *       (fiber, park_id) pair never matches, because park ids are never repeated.
 *   F2  Only the scheduler (sched*.c) writes `state`; on the worker's OS thread, but for the step from AWAY to PARKED.
 *   F3  The address of a fiber is its identity as a thread: unique while it is alive.
 *   F4  A fiber's memory is used by one worker only, in all its lives: park ids rise from each park of
 *       it to the next, and its inbox node can only be in that worker's inbox.
 */
#ifndef WF_FIBER_H
#define WF_FIBER_H

#include <Python.h>

#include "../engine/base.h"
#include "../engine/inbox.h"
#include "../engine/list.h"

struct wf_worker;
struct wf_green;
struct wf_vessel;
struct wf_errqueues;
struct wf_thread_locals;
struct wf_scope;

enum wf_state { WF_FREE, WF_NEW, WF_RUNNABLE, WF_RUNNING, WF_PARKED, WF_AWAY, WF_DONE };

enum wf_kind { WF_ROOT, WF_GREEN, WF_RAW };

/* Why a fiber is parked, unique and descriptive, and what `awaited` is then.  They appear in dumps. */
enum wf_reason {
    WF_PARK_NONE,
    WF_PARK_SLEEP,
    WF_PARK_JOIN,      /* a fiber's address */
    WF_PARK_READ,      /* a descriptor */
    WF_PARK_WRITE,     /* a descriptor */
    WF_PARK_CONNECT,   /* a descriptor */
    WF_PARK_POLL,      /* the only descriptor, or -1 - how many there are */
    WF_PARK_SEMAPHORE, /* its address, as with the next four */
    WF_PARK_MUTEX,
    WF_PARK_CONDITION,
    WF_PARK_RWLOCK,
    WF_PARK_ONCE,
    WF_PARK_OS_THREAD,
    WF_PARK_OFFLOAD,
    WF_PARK_CHILD,
    WF_PARK_SIGNAL,
    WF_PARK_BACKOFF,   /* a descriptor */
    WF_PARK_QUIET,
    WF_PARK_LOCK,      /* a struct wf_mutex; the others below: an object's address */
    WF_PARK_COUNT,
    WF_PARK_NOTIFY,
    WF_PARK_EVENT,
    WF_PARK_GET,
    WF_PARK_PUT,
    WF_PARK_TASKS,
    WF_PARK_ORDER,
    WF_PARK_RECEIVE,
    WF_PARK_SEND,
    WF_PARK_SELECT,    /* how many cases there are */
};

/* What ended a park. */
enum wf_wake { WF_WOKEN, WF_TIMED_OUT, WF_INTERRUPTED };

/* What few fibers have.  The memory stays with the fiber's, for its next lives. */
struct wf_belongings {
    struct wf_errqueues *errqueues; /* its OpenSSL error queues (errqueue.c), or NULL */
    struct wf_thread_locals *thread_locals; /* of libraries that must have their own; or NULL */
    char name[16];            /* as pthreads know it (hook_thread.c), */
    bool named;               /* if anybody has given it one */
    /* cancel.c; guarded by the GIL: */
    struct wf_scope *scopes;  /* the innermost it is in */
    uint64_t cancelled;       /* the cancellation that reached it as a whole last; 0: none */
    uint8_t told;             /* how often its calls have failed for a cancellation that Python has not raised yet */
    bool cancel_wanted;       /* as a whole, and not yet done */
    bool hidden;              /* Python code called by the C code that was told runs, and is let be */
    bool told_in_c;           /* not between two bytecodes; then, where Python code stood: */
    const void *told_frame;
    intptr_t told_instruction;
};

struct wf_fiber {
    /* What a switch touches lies together. */
    uint64_t park_id;         /* names the current park; 0 while not parked */
    struct wf_worker *worker; /* where it lives, for ever */
    struct wf_vessel *vessel;
    PyThreadState *tstate;    /* to attach or bind when it is resumed; RAW: learnt at each park */
    uint8_t state, kind, reason, wake;
    bool attached;            /* it parked holding the GIL and wants it back */
    bool timed;               /* a live timer names the current park */
    bool joinable;            /* RAW: stays DONE until joined or detached */
    bool daemon;
    int no_preempt;           /* reasons not to preempt it now */
    int blocking;             /* reasons not to report that it stalls the others */
    int os_threads;           /* reasons for threads it makes now to be OS threads */
    int spawn_offset;         /* see spawn_code */
    _Atomic int64_t cancel_at_ns; /* from when on its parks are cancelled; 0: now; WF_NEVER: they are not */
    /* What dumps tell of a park; written at each, read by nobody else. */
    int64_t parked_ns;        /* since about when: wf_worker.clock_ns */
    int64_t deadline_ns;      /* or WF_NEVER */
    intptr_t awaited;         /* what for exactly: see wf_reason; 0: not told */
    union {
        struct wf_green *green; /* GREEN: its handle, a strong reference */
        struct {
            void *(*start)(void *); /* RAW */
            void *arg;
        };
        struct wf_fiber *next_free; /* FREE */
    };
    _Atomic(struct wf_belongings *) belongings; /* NULL until it has any */
    uint64_t serial;          /* which life of this memory; never repeated; 0 when free */
    PyObject *spawn_code;     /* which code asked for it (where in it: spawn_offset); NULL: none.  A strong reference, */
                              /* kept until the memory is used again: who ends may not hold the GIL */
    struct wf_list joiners;   /* struct wf_joiner; guarded by fiber.c's lock */
    struct wf_inbox_node inbox_node;
    _Atomic uint64_t inbox_park; /* newest park that another OS thread wants ended */
    atomic_bool inbox_posted;    /* inbox_node is in the inbox */
    bool shielded;               /* no cancellation ends the present park */
};

/* Is it a green thread (not the root, which stands for an OS thread) whose life has begun and is not over? */
static inline bool wf_fiber_is_living_green(const struct wf_fiber *fiber)
{
    return fiber->kind != WF_ROOT && fiber->state != WF_DONE && fiber->state != WF_FREE;
}

/* What few fibers have: of this one, made if need be.  NULL when memory is short.  From any OS thread. */
struct wf_belongings *wf_fiber_belongings(struct wf_fiber *fiber);

/* The same, if there are any. */
static inline struct wf_belongings *wf_fiber_has(struct wf_fiber *fiber)
{
    return atomic_load_explicit(&fiber->belongings, memory_order_acquire);
}

/* A wait for the end of a fiber; lives on the waiter's stack. */
struct wf_joiner {
    struct wf_list link;
    struct wf_fiber *fiber; /* who waits */
    uint64_t park_id;
};

/* Reserves the memory of all fibers; 0, or -1 with errno. */
int wf_fiber_init(void);

/* A fiber of this kind with a fresh serial, or NULL with errno ENOMEM.  `spare` is the worker's list of
 * freed fibers: a fiber belongs to one worker for ever (F4). */
struct wf_fiber *wf_fiber_new(struct wf_worker *worker, struct wf_fiber **spare, enum wf_kind kind);

/* Gives it back.  Its serial is 0 from now on. */
void wf_fiber_free(struct wf_fiber *fiber, struct wf_fiber **spare);

/* The fiber whose identity this is, or NULL (an OS thread's, or nonsense). */
struct wf_fiber *wf_fiber_from_ident(unsigned long ident);

static inline unsigned long wf_fiber_ident(const struct wf_fiber *fiber)
{
    return (unsigned long)fiber;
}

/* Calls visit(fiber, arg) for all that were ever made and are not free, oldest memory first, until it returns
 * non-zero, and returns that. */
int wf_fiber_each(int (*visit)(struct wf_fiber *fiber, void *arg), void *arg);

/* If the life `serial` of `fiber` is not over, links the joiner and returns true. */
bool wf_fiber_add_joiner(struct wf_fiber *fiber, uint64_t serial, struct wf_joiner *joiner);

/* Unlinks, whether it was still linked or not. */
void wf_fiber_remove_joiner(struct wf_joiner *joiner);

/* Is the life `serial` of `fiber` over? */
bool wf_fiber_over(struct wf_fiber *fiber, uint64_t serial);

/* Ends the life: calls wake(fiber, park_id) for every joiner, and from now on wf_fiber_over is true. */
void wf_fiber_end(struct wf_fiber *fiber, void (*wake)(struct wf_fiber *fiber, uint64_t park_id));

/* fork: nobody may be in the middle of a list when memory is copied. */
void wf_fiber_before_fork(void);
void wf_fiber_after_fork(void); /* in parent and child */

/* In the child of a fork: all lives but these two (`root` may be the survivor) are over.  Their memory is not
 * used again: their stacks may hold objects of live Python code. */
void wf_fiber_orphan_all_but(struct wf_fiber *survivor, struct wf_fiber *root);

/* A word for programs, and a phrase for people. */
const char *wf_reason_name(enum wf_reason reason);
const char *wf_reason_text(enum wf_reason reason);

#endif
