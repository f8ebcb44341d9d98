/* tstate.h - the one place that touches a PyThreadState.
 *
 * To the interpreter every green thread is a thread, because it has a thread state of its
 * own.  This file makes thread states, lets one serve several green threads in turn, and
 * moves the interpreter's attention from one to another.
 *
 * Two slots say whose thread state is in charge, and both must move on a switch:
 *   - the current one (3.11: one per process, guarded by the GIL; 3.12+: one per OS thread),
 *     set while the GIL is held: "attached";
 *   - the bound one, a thread-specific value that PyGILState_Ensure reads, also while
 *     detached.  A callback from C into Python inside a released-GIL region attaches *that* one,
 *     so a stale value would run one green thread's Python on another's frames.
 *
 * Every field that differs between CPython versions is named here and nowhere else.
 */
#ifndef WF_TSTATE_H
#define WF_TSTATE_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wf_tstate_memory {
    char *chunk_lo, *chunk_hi; /* where the data stack starts; NULL to let CPython allocate it */
    char *stack_lo, *stack_hi; /* bounds of the C stack on which it will run */
};

/* Once, with the GIL held. 0, or -1 with a Python exception set. */
int wf_tstate_init(void);

/* A thread state that has never been attached; NULL without an exception when memory is short.
 * Its data stack lies in memory->chunk, which must outlive it. */
PyThreadState *wf_tstate_new(const struct wf_tstate_memory *memory);

/* Begins a life: a fresh identity, full recursion budgets.  May be called attached to it or not. */
void wf_tstate_begin(PyThreadState *tstate, unsigned long ident, size_t stack_size);

/* Ends a life: clears what belonged to the finished thread, as PyThreadState_Clear does, and leaves
 * the thread state ready to begin another.  Runs destructors, so it may park.  Attached to `tstate`. */
void wf_tstate_end(PyThreadState *tstate);

/* Deletes one that wf_tstate_new made and that is between lives.  Attached to another. */
void wf_tstate_delete(PyThreadState *tstate);

/* The thread state that was made last. */
PyThreadState *wf_tstate_newest(void);

/* CPython clears, but does not delete, the thread state of a thread that could not be started.  Deletes the one it has
 * left so since `newest` was the newest: with our identity on it, it would be taken for us. */
void wf_tstate_delete_abandoned(PyThreadState *newest);

/* The thread state that PyGILState_Ensure would use on this OS thread. */
PyThreadState *wf_tstate_bound(void);

/* Makes `tstate` (NULL: none) the bound one.  For a switch to a detached green thread. */
void wf_tstate_bind(PyThreadState *tstate);

/* Is `tstate` the current one, which implies that we hold the GIL? */
static inline bool wf_tstate_attached(PyThreadState *tstate)
{
#if PY_VERSION_HEX >= 0x030D0000
    return tstate != NULL && PyThreadState_GetUnchecked() == tstate;
#else
    return tstate != NULL && _PyThreadState_UncheckedGet() == tstate;
#endif
}

/* Makes the thread of `tstate` look, between two bytecodes, whether an exception is to be raised in it.  With the GIL. */
void wf_tstate_signal_async(PyThreadState *tstate);

/* From attached to `from` to attached to `to`. */
void wf_tstate_swap(PyThreadState *from, PyThreadState *to);

/* From detached to attached, waiting for the GIL. */
void wf_tstate_attach(PyThreadState *tstate);

/* From attached to detached. */
void wf_tstate_detach(PyThreadState *tstate);

/* Where the calling Python code stands: its code, replacing the reference in *code (NULL: there is none), and the
 * offset of the instruction in it.  Makes no frame object. */
void wf_tstate_place(PyObject **code, int *offset);

/* The n-th slot of a frame of a thread that is not running: its variables come first, then its value stack.  Borrowed;
 * NULL: it is empty, or holds a number that is no object.  `n` must be less than the frame has, and what it holds be live. */
PyObject *wf_frame_slot(PyFrameObject *frame, int n);

/* What tells a _thread.lock or _thread.RLock from all others while somebody waits for it. */
const void *wf_lock_place(PyObject *lock);

/* The same, of the lock for which somebody waits in this semaphore; anything else if it is no lock's. */
const void *wf_semaphore_place(const void *semaphore);

/* A copy of the calling thread's contextvars context, in *context; NULL there if it never had one, and a new thread needs
 * none either.  0, or -1 with an exception. */
int wf_context_copy(PyObject **context);

/* Is `tstate`, the calling thread's, deallocating an object?  As far as the version lets us see: up to 3.12 CPython
 * counts the objects with a dictionary or items being deallocated; from 3.13 on we know only of some put off. */
bool wf_tstate_in_destructor(PyThreadState *tstate);

/* The innermost Python frame of the thread that CPython knows by this identity: a new reference, or NULL if there is
 * no such thread or no Python code in it.  With the GIL, and true while it is held. */
PyFrameObject *wf_tstate_frame(unsigned long ident);

/* The thread state that holds the GIL, or held it last; for who does not. */
PyThreadState *wf_tstate_holder(void);

/* A Python stack, read from outside and without the GIL, in a signal handler or while C code goes on: what is no longer
 * there is not read.  Begin with the innermost frame; false after the outermost, or where it cannot be read.
 * The code is borrowed, and alive if the thread stands still. */
struct wf_code_place {
    PyCodeObject *code;
    int offset; /* of the instruction */
};
const void *wf_tstate_innermost(PyThreadState *tstate);
bool wf_tstate_read_frame(const void **frame, struct wf_code_place *place);

/* Runs call(NULL) between two bytecodes of whichever thread next gets there: not before the C function that is
 * running now has returned.  False: CPython 3.11 lets only the main thread run such calls, or there are too many. */
bool wf_tstate_call_soon(int (*call)(void *));

/* The exception being raised, taken from the thread state, with its traceback; a new reference or NULL. */
PyObject *wf_take_exception(void);

/* Does the calling thread tell anybody of the asynchronous generators it begins (sys.set_asyncgen_hooks)?  Attached. */
bool wf_tstate_tells_of_async_gens(void);

/* Has every thread a list of the asyncio tasks it made, so that who asks in a loop's thread for all of the loop's gets those
 * alone?  From 3.14 on. */
static inline bool wf_tstate_lists_tasks(void)
{
    return PY_VERSION_HEX >= 0x030E0000;
}

/* Then: exchanges the lists of two threads.  With the GIL. */
void wf_tstate_exchange_tasks(PyThreadState *one, PyThreadState *other);

/* The calling thread's calls and returns go to `profile`, its lines to `trace`; but a program's own functions stay. */
void wf_tstate_watch(Py_tracefunc profile, Py_tracefunc trace);

/* Not any more, as far as they still do. */
void wf_tstate_unwatch(Py_tracefunc profile, Py_tracefunc trace);

/* Tells CPython >= 3.14 on which C stack `tstate` runs, before it is first attached. */
void wf_tstate_protect(PyThreadState *tstate, const struct wf_tstate_memory *memory);

#endif
