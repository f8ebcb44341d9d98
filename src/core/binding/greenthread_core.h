/* greenthread_core.h - what the three files of weft.GreenThread share; greenthread.h has the idea.
 *
 *     greenthread.c       the handle as an object: what can be asked of it at once
 *     greenthread_wait.c  ... and what has to be waited for: the end, the outcome
 *     greenthread_life.c  the green thread itself: spawned, run, ended, its callbacks called
 *
 * Invariants
 *   G1  `fiber` means this green thread only while fiber->serial == serial: its memory has other lives after that.
 *   G2  What it was called with is there until it has ended, the outcome from then on.
 *   G3  A spawned one is tracked by the collector from its end on: until then its fiber holds it.
 */
#ifndef WF_GREENTHREAD_CORE_H
#define WF_GREENTHREAD_CORE_H

#include "greenthread.h"

/* There may be a million: 112 bytes with the collector's header, and nothing else for a call with at most one argument. */
struct wf_green {
    PyObject_HEAD
    struct wf_fiber *fiber; /* means this green thread only while fiber->serial == serial */
    uint64_t serial;
    PyObject *fn;           /* once it has ended: the function's name; NULL if not spawned */
    PyObject *args;         /* NULL if none, and once it has ended; else the only one, or, if `packed`, */
                            /* (*args, *keyword values, names of keywords or None) */
    PyObject *context;      /* NULL if the spawner had none */
    PyObject *name;         /* NULL until somebody sets or reads it */
    PyObject *outcome;      /* once it has ended: the result, or, if `failed`, the exception */
    PyObject *callbacks;    /* a list of whom to call when it has ended; NULL if none, and once they are called */
    PyObject *weakrefs;
    uint32_t number;        /* for the default name */
    uint32_t collectors : 24; /* how many wait in result() or exception() */
    bool packed : 1;
    bool ended : 1;
    bool failed : 1;
    bool cancelled : 1;     /* it failed with weft.Cancelled */
    bool collected : 1;     /* somebody has asked for the outcome since it ended */
    bool spawned : 1;       /* by weft.spawn */
    bool daemon : 1;
};

extern PyTypeObject *wf_green_type;

/* What weft._threads lends; NULL before that. */
struct wf_green_lent {
    PyObject *report_exception; /* callable(green thread, exception) */
    PyObject *threads;          /* threading._active: identity -> Thread */
    PyObject *run_coroutine;    /* callable(coroutine), returns its result */
};
extern struct wf_green_lent wf_green_lent;

/* {=== greenthread.c ===} */

/* The handle of `fiber`, not tracked yet. */
struct wf_green *wf_green_new(struct wf_fiber *fiber, bool spawned);

/* What to call a function in a name, a str. */
PyObject *wf_green_label(PyObject *fn);

static inline bool wf_green_alive(const struct wf_green *self)
{
    return !self->ended && !wf_fiber_over(self->fiber, self->serial);
}

/* {=== greenthread_wait.c ===} */

PyObject *wf_green_join(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *wf_green_result(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *wf_green_exception(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
extern const char wf_green_join_doc[], wf_green_result_doc[], wf_green_exception_doc[];

/* {=== greenthread_life.c ===} */

PyObject *wf_green_add_done_callback(struct wf_green *self, PyObject *fn);
extern const char wf_green_add_done_callback_doc[];

/* Adds its functions to the module.  0, or -1 with an exception. */
int wf_green_life_init(PyObject *module);

#endif
