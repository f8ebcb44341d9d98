/* stall.h - tells when a green thread keeps its OS thread from the others for too long.
 *
 * The watchdog (preempt.h) finds a worker that has not switched for a slice though somebody else could run
 * there, and tries to make the hog give way.  Where that fails again and again, or succeeds late, it is a
 * *stall*: nobody switched for longer than a threshold, and at every look somebody was waiting.
 *
 * A report needs the hog's Python stack, which can be read with the GIL held only, and its native function, which
 * must be asked for without the GIL (native.h).  So one attempt of the watchdog is seen by us in three phases:
 *
 *     wf_stall_watch    no GIL, no attempt yet
 *     wf_stall_wait     again and again while the watchdog waits for the GIL
 *     wf_stall_judge    GIL held, and known whether the hog came to give way
 *
 * and the reason of a stall is told by how the attempt went:
 *
 *     we waited long for the GIL       C code held it; the stack is still that of the call
 *     the hog did not come             C code has released the GIL
 *     it came, but refused             worker->refused: weft.no_preempt, a destructor, preemption is off
 *
 * C code may never let go of the GIL, and until then no Python code runs, ours included.  So after ten times the
 * threshold the watchdog itself says what can be seen from outside (emergency.h), and the rest when it is over.
 *
 * A stall is handed to Python code (src/weft/_stalls.py) once; whether its place was reported before is known there.
 */
#ifndef WF_STALL_H
#define WF_STALL_H

#include "sched.h"

/* Does anybody want to know of stalls?  WF_NEVER: no. */
int64_t wf_stall_threshold_ns(void);

/* The watchdog looks at a worker: nothing stalls there now. */
static inline void wf_stall_none(struct wf_worker *worker, int64_t now_ns)
{
    worker->watched.stalled_since_ns = now_ns;
    worker->watched.stall_told = false;
}

/* See above.  Of the watchdog only. */
void wf_stall_watch(struct wf_worker *worker);
bool wf_stall_wait_wanted(void); /* would wf_stall_wait do anything now? */
void wf_stall_wait(void);
void wf_stall_judge(bool came);

/* Adds _watch_stalls and _hold_stalls to the module.  0, or -1 with an exception. */
int wf_stall_init(PyObject *module);

#endif
