/* interrupt.h - what a hook does whose park ended with WF_INTERRUPTED: how a cancellation gets through C code.
 *
 * A hook stands deep in C code, often with the GIL released, where no exception can be raised.  All it
 * can do is fail, with an errno, and hope that its caller gives up.  There are three kinds of callers.
 *
 *   CPython itself takes EINTR for a signal: it asks whether a Python signal handler raises something, and goes on
 *     waiting if not.  So a cancellation comes to it as a signal would: with a handler, ours, that raises
 *     weft.Cancelled.  This is what makes it exact: the wait ends at once, nothing is half done, a lock is not
 *     taken; the places where CPython looks are those where its authors meant KeyboardInterrupt to come out.
 *   A C library that gives up on EINTR reports an error to Python.
 *   A C library that simply tries again gets ECANCELED, at once, from every call that would wait.
 *
 * For the latter two CPython is left the exception as PyThreadState_SetAsyncExc leaves it: it is raised when bytecode is
 * reached, with the library's error as its context.
 *
 * As a signal would.  CPython calls handlers in the main thread only, and asks pthread_self who is calling.  So between
 * "told" and "raised" a green thread *impersonates* the main one: hook_thread.c answers for it with the
 * main thread's identity.  That lasts while all of the following holds, so that nothing but the question meant sees it:
 *   - our handler has still to be called (the *trip*), and so has the exception to be raised;
 *   - Python code stands at the instruction at which the thread was told;
 *   - no signal has arrived since: its handler is the real main thread's to run.
 * The handler is entered for SIGKILL in CPython's table: nobody can have another for it, and no such signal can come.
 *
 * The main thread may run the handler first (it does nothing there); the next hook then sees that the question was
 * answered by somebody else, and asks again.
 *
 * A wait that C code cannot be told has failed (CPython's own locks, in places where it cannot be interrupted) is not
 * ended: the hook tells once, in case, and then parks shielded.
 *
 * Rejected: ECANCELED at once (CPython's locks take an unknown error for success, or abort); the async exception alone
 * (CPython goes on waiting, PEP 475); other functions in the place of _thread.lock's (the waits of
 * queues, imports, files and sockets are not among them); a pending call (CPython makes those in the main thread
 * only, and sockets do not ask for them).
 */
#ifndef WF_INTERRUPT_H
#define WF_INTERRUPT_H

#include "sched.h"

/* The errno with which a hook fails: EINTR for a signal, and for a cancellation the first time; ECANCELED then.  May take
 * the GIL for a moment, and park. */
int wf_interrupt_errno(struct wf_worker *worker);

/* Is our handler being entered?  Then sigaction shall not refuse the signal. */
bool wf_interrupt_is_installing(void);

/* Does the running fiber, told last, impersonate the main thread?  Asked by pthread_self. */
bool wf_interrupt_is_impersonated(struct wf_worker *worker);

#endif
