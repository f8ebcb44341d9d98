/* vessel.h - what a green thread runs in.
 *
 * A vessel is a C stack, the context saved on it, and a thread state, kept together and used by one fiber after
 * another: each of the three is dear to make and cheap to reuse.  It is the stack's header, so it
 * lies in the home page, which the stack has touched anyway.
 *
 * RAW fibers bring a thread state of CPython's own, so their vessels have none, and a pool of their own.
 *
 * Sizes.  The first WF_LARGE_STACKS vessels of a worker get as much stack as an OS thread has, so that programs with
 * a moderate number of threads meet no new limit; it is address space, not memory.  Beyond them the
 * size is what a million can have.  docs/design/0008 has the reasons.
 *
 * Trimming.  Idle vessels cost memory, and their thread states clutter every list of threads (faulthandler's, a
 * debugger's).  When there is nothing to do, and not more than once a second, those are let go of
 * that were not needed in the last second.
 *
 * Invariant: a vessel is in exactly one place, in a pool (fiber == NULL) or under a fiber.
 */
#ifndef WF_VESSEL_H
#define WF_VESSEL_H

#include <Python.h>

#include "../engine/base.h"
#include "../engine/context.h"
#include "../engine/stack.h"

#define WF_LARGE_STACK_SIZE ((size_t)8 << 20)
#define WF_LARGE_STACKS 1024
#define WF_SMALL_STACK_SIZE ((size_t)256 << 10)
#define WF_LEAST_STACK_SIZE ((size_t)64 << 10)

struct wf_fiber;

struct wf_vessel {
    struct wf_stack stack; /* first: the stack's header is the vessel */
    struct wf_context context;
    PyThreadState *tstate; /* the vessel's own; NULL if it never carried a GREEN fiber */
    struct wf_fiber *fiber; /* who is in it; NULL in the pool */
    struct wf_vessel *next_free;
    bool raw;              /* which pool it returns to: RAW fibers bring their own thread state */
    bool chunk_lent;       /* a RAW fiber's thread state uses the data-stack chunk */
};

_Static_assert(sizeof(struct wf_vessel) <= WF_STACK_HEADER_SIZE, "a vessel outgrew the stack header");

enum { WF_POOL_LARGE, WF_POOL_SMALL, WF_POOL_CUSTOM, WF_POOLS };

struct wf_vessel_pool {
    struct wf_stack_pool stacks;
    struct wf_vessel *free[2]; /* [raw] */
};

/* All vessels of a worker; only its OS thread touches them. */
struct wf_vessels {
    struct wf_vessel_pool pools[WF_POOLS];
    void (*main)(void *vessel); /* what runs on the stack of a new one */
    size_t idle;                /* how many are in the pools */
    size_t recent_peak;         /* most fibers alive since the last trim */
    int64_t trim_ns;            /* when the next trim is due */
};

/* Forgets whatever was there before, without freeing it (a forked child's are of no use). */
void wf_vessels_init(struct wf_vessels *vessels, void (*main)(void *vessel));

/* One with at least `stack_size` bytes of stack (0: the default size), or NULL with errno ENOMEM. */
struct wf_vessel *wf_vessel_take(struct wf_vessels *vessels, size_t stack_size, bool raw);

/* The caller may stand on it, as long as nobody takes one before he has left. */
void wf_vessel_release(struct wf_vessels *vessels, struct wf_vessel *vessel);

static inline size_t wf_vessel_stack_size(const struct wf_vessel *vessel)
{
    return (size_t)(vessel->stack.top - vessel->stack.lo);
}

/* There are `live` fibers. */
static inline void wf_vessels_note_live(struct wf_vessels *vessels, size_t live)
{
    if (live > vessels->recent_peak)
        vessels->recent_peak = live;
}

/* Will there be something to let go of when the next trim is due? */
bool wf_vessels_trim_wanted(const struct wf_vessels *vessels, size_t live);

/* Lets go of some, if it is due.  Detached; takes the GIL meanwhile, and must not be made to park. */
void wf_vessels_trim(struct wf_vessels *vessels, size_t live, int64_t now_ns);

#endif
