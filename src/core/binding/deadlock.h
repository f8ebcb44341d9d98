/* deadlock.h - when nothing can happen any more, somebody should ask why.
 *
 * A worker about to sleep with no timer and no descriptor to wait for relies on others to wake it: OS threads,
 * or signals.  So it sleeps a while first, and if nothing has come, looks at the other OS threads.  If each of them is
 * known to do nothing (our watchdog, idle helpers), to sleep as this one does (workers), or to wait for a lock
 * (bystander.h), the main green thread is woken, as for a signal, and
 * asks Python's judge (weft._deadlock), who knows which locks are held by whom, and raises weft.Deadlock or not.
 * docs/design/0016 says when.
 *
 * It costs nothing while anything can happen, and otherwise one wake-up; where there are other OS threads, more of them,
 * each after twice the time.
 */
#ifndef WF_DEADLOCK_H
#define WF_DEADLOCK_H

#include <Python.h>

/* Adds _watch_deadlocks to the module.  0, or -1 with an exception. */
int wf_deadlock_init(PyObject *module);

#endif
