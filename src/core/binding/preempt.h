/* preempt.h - no green thread keeps its OS thread to itself.
 *
 * CPython preempts OS threads already: one that waits for the GIL asks the holder to let go, and
 * the holder does at the next bytecode boundary.  We let green threads use that.  An OS thread of ours, the
 * watchdog, sees that a worker has not switched for a time slice though somebody else could run there.
 * It raises the worker's flag and takes the GIL.  The hog lets go, asks for the GIL back, and so comes to wait in
 * CPython's pthread_cond_timedwait, where our hook sees the flag:
 *
 *     watchdog                         the hog's OS thread
 *     raise the flag
 *     ask for the GIL  - - - - - - ->  (bytecode boundary) let go of it
 *     have it                          ask for it: pthread_cond_timedwait
 *                                        the hook: lower the flag, tell the watchdog,
 *     let go of it  <- - - - - - - - -   switch to the next green thread
 *                                      ... when it is the hog's turn again:
 *                                        report a spurious wake-up; CPython goes on asking
 *
 * It is a point at which CPython itself would have switched threads, so what is safe with OS threads is safe here.
 * It costs nothing while nobody hogs, and works for every OS thread that has green threads.
 * C code that holds the GIL cannot be preempted, as it cannot be with OS threads; C code that has released it neither:
 * nothing but its own end brings it back to us.  stall.h tells of those.
 *
 * The watchdog looks once in a slice while any worker is awake, twice while there are hogs, and sleeps for good
 * while all are asleep.
 * ../../../docs/design has the record and what was rejected.
 */
#ifndef WF_PREEMPT_H
#define WF_PREEMPT_H

#include "hook.h"

/* Starts the watchdog unless it runs or is not wanted.  Without an OS thread to be had there is no preemption,
 * which is no error. */
void wf_preempt_ensure(void);

/* Is there a watchdog? */
bool wf_preempt_running(void);

/* Ends the watchdog and waits for its end; with the GIL. */
void wf_preempt_stop(void);

/* The watchdog is not in the child of a fork. */
void wf_preempt_after_fork_child(void);

/* Adds set_preemption and its kin to the module.  0, or -1 with an exception. */
int wf_preempt_init(PyObject *module);

extern const struct wf_hook_family wf_hooks_preempt;

#endif
