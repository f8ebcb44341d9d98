/* carry.h - C code that computes with the GIL released goes on on another OS thread, stack and all.
 *
 * What C code does between letting go of the GIL and asking for it back is a *released region*.  No Python code of the
 * green thread runs in it, CPython's variables of the OS thread do not name its thread state, and we are called
 * at both ends.  So there, and only there, a green thread can leave its OS thread: a *carrier*, an OS thread of ours,
 * switches to its stack and goes on with the C code, while the worker runs the others.
 *
 *     worker's OS thread                        carrier
 *     SaveThread: let go of the GIL
 *     leave the stack, for the anteroom
 *     hand the fiber over - - - - - - - - - ->  switch to it: SaveThread returns, here
 *     run others                                the library computes
 *                                               RestoreThread: leave the stack
 *     switch to it  <- - - - - - - - - - - - -  send it home: through the inbox
 *     ask for the GIL: RestoreThread returns
 *
 * The *anteroom* is a stack on which a worker looks for the next fiber (sched.h: there is no hub) when it cannot do that
 * on the stack of who parked last, because somebody else is about to run on it.
 *
 * What belongs to the OS thread changes twice under the library's feet.  errno, the floating-point environment and
 * the stack guard (glibc's is one for all) are seen to.  Its thread-local variables are not: so it is for libraries that
 * one has named, hook_carry.c does it, and docs/design/0023 says for which it is not.
 *
 * Carriers are as many as are away at once, never fewer: a region may wait for a lock whose holder is about to enter
 * one.  They end after some seconds without work.  They have no thread state, and signals but those of a crash are blocked.
 */
#ifndef WF_CARRY_H
#define WF_CARRY_H

#include "sched.h"
#include "thread_counts.h"

/* The running fiber, detached, leaves its OS thread.  True: it has, and this is a carrier's.  False: no OS thread or
 * memory is to be had. */
bool wf_carry_away(struct wf_worker *worker);

/* The fiber that the calling OS thread carries, or NULL.  Async-signal-safe. */
struct wf_fiber *wf_carried(void);

/* When it was carried away.  For a fiber that is carried. */
int64_t wf_carried_since_ns(void);

/* A fiber that is carried goes on on its own OS thread, detached. */
void wf_carry_home(void);

/* How often it was done; and now: carriers, and those without work. */
struct wf_carriers {
    uint64_t count;
    size_t idle;
    struct wf_thread_counts threads;
};
struct wf_carriers wf_carriers(void);

void wf_carry_before_fork(void);
void wf_carry_after_fork_parent(void);
void wf_carry_after_fork_child(void);

#endif
