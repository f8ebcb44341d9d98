/* tstate_async.h - what comes to a thread from outside: exceptions, and Python's signal handlers.
 *
 * A part of tstate.h, for cancellation: the fields of a thread state, and of the interpreter, by which an exception can be raised
 * in a thread that does not expect it, and by which we see where it stands meanwhile.
 */
#ifndef WF_TSTATE_ASYNC_H
#define WF_TSTATE_ASYNC_H

#include <Python.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Raises `exception`, a class, between two bytecodes of the thread of `tstate`, the next time it gets there; NULL: takes
 * that back.  With the GIL. */
void wf_tstate_set_async(PyThreadState *tstate, PyObject *exception);

/* Has `exception` still to be raised?  From the thread itself, attached or not. */
bool wf_tstate_has_async(const PyThreadState *tstate, const PyObject *exception);

/* Where Python code of `tstate`, the calling thread's, stands: its innermost frame, and something that changes with every
 * instruction there.  Attached or not. */
void wf_tstate_where(PyThreadState *tstate, const void **frame, intptr_t *instruction);

/* From now on calls enter(tstate) before each call of a Python function, and leave(tstate) after it if that was true; NULL:
 * not any more.  Python code is slower meanwhile.  With the GIL. */
void wf_tstate_watch_calls(bool (*enter)(PyThreadState *tstate), void (*leave)(PyThreadState *tstate));

/* From now on calls look(tstate, exception) for each exception that comes into Python code of the thread of `tstate`, the calling
 * one, or is raised there; it may be called for those of other threads too.  If that is true, it has set another, which is
 * raised instead.  Does nothing if the place is taken (by a tracer).  With the GIL. */
void wf_tstate_watch_errors(PyThreadState *tstate, bool (*look)(PyThreadState *tstate, PyObject *exception));

/* Not any more in that thread; but `others` are still looked at. */
void wf_tstate_unwatch_errors(PyThreadState *tstate, bool others);

/* The identity by which CPython knows its main thread. */
unsigned long wf_tstate_main_ident(void);

/* A signal that nobody can have a handler for: CPython's table has room for one that nobody can use. */
#define WF_UNUSABLE_SIGNAL SIGKILL

/* Makes `handler` what CPython calls for that signal, though none will ever come.  0, or -1 with an exception.  CPython
 * 3.11 does it only where it believes to be in the main thread and sigaction does not refuse. */
int wf_tstate_set_handler(PyObject *handler);

/* As if that signal had come: whoever next runs Python's signal handlers calls it.  With the GIL. */
void wf_tstate_trip(void);

/* Has a signal come whose handler has not been called yet?  With the GIL. */
bool wf_tstate_is_tripped(void);

#endif
