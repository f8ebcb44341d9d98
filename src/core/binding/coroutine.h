/* coroutine.h - the first step of a coroutine, in whoever calls it.
 *
 * weft.aio runs coroutines on an asyncio loop that green threads share.  Those that never wait need no loop: their
 * caller takes their only step himself.  What that step may ask asyncio for is there: a running loop and a current
 * task.  src/weft/_shared_loop.py has the rest of the idea.
 *
 * In C because all of it must happen or nothing: a loop that is left in the middle of a task is of no use to anybody,
 * and between two bytecodes a green thread may be cancelled, or interrupted by a signal.
 */
#ifndef WF_COROUTINE_H
#define WF_COROUTINE_H

#include <Python.h>

/* Adds the functions to the module.  0, or -1 with an exception. */
int wf_coroutine_init(PyObject *module);

/* In the child of a fork: who drove a loop is not there. */
void wf_coroutine_after_fork_child(void);

#endif
