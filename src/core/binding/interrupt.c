/* interrupt.c - a cancellation in the clothes of a signal; interrupt.h has the idea. */
#include "interrupt.h"

#include "cancel.h"
#include "hook.h"
#include "tstate.h"
#include "tstate_async.h"

#include <errno.h>

/* Whoever was told so often, and never asked, must be a library that tries again. */
#define MOST_TIMES_TOLD 100

/* How often, and how long each time, the main thread is given a chance to run the handler of a real signal. */
#define CHANCES 20
#define CHANCE_NS WF_NS_PER_MS

/* Trips made and trips answered; with the GIL, but pthread_self may look without. */
static _Atomic unsigned trips, answered;

static unsigned signals_at_trip; /* how many signals had come when the last trip was made */

/* {=== Where it was told ===} */

/* Is the exception still to be raised, and are we in the C code, or in something it calls, that was told? */
static bool is_in_told_code(const struct wf_belongings *own, PyThreadState *tstate)
{
    const void *frame;
    intptr_t instruction;

    if (own->told == 0 || !own->told_in_c || !wf_tstate_has_async(tstate, wf_cancelled))
        return false;
    wf_tstate_where(tstate, &frame, &instruction);
    return frame == own->told_frame && instruction == own->told_instruction;
}

/* Some Python function is being called while somebody has been told.  By the C code that was? */
static bool enter_python(PyThreadState *tstate)
{
    struct wf_worker *worker = wf_this_worker;
    struct wf_belongings *own = worker ? wf_fiber_has(worker->current) : NULL;

    if (wf_cancel_tellings() == 0)
        wf_tstate_watch_calls(NULL, NULL);
    if (own == NULL || own->hidden || !is_in_told_code(own, tstate))
        return false;
    own->hidden = true;
    wf_tstate_set_async(tstate, NULL);
    wf_cancel_update(worker->current);
    return true;
}

static void leave_python(PyThreadState *tstate)
{
    struct wf_worker *worker = wf_this_worker;

    wf_fiber_has(worker->current)->hidden = false;
    wf_tstate_set_async(tstate, wf_cancelled);
    wf_cancel_update(worker->current);
}

/* {=== An error of the C code's ===} */

/* weft.Cancelled, raised in the place of `error`, where that was. */
static void raise_instead(PyObject *error)
{
    PyObject *cancelled = PyObject_CallNoArgs(wf_cancelled);
    PyObject *traceback = PyException_GetTraceback(error);

    if (cancelled == NULL)
        return;
    if (traceback != NULL)
        PyException_SetTraceback(cancelled, traceback);
    PyErr_SetObject(wf_cancelled, cancelled);
    PyException_SetContext(cancelled, Py_NewRef(error));
    Py_XDECREF(traceback);
    Py_DECREF(cancelled);
}

/* An exception has come into Python code.  If it is how C code that was told has given up, it is not let in: a handler would
 * run, or a `finally`, and be struck itself by what was left to be raised. */
static bool see_error(PyThreadState *tstate, PyObject *error)
{
    struct wf_worker *worker = wf_this_worker;
    struct wf_belongings *own = worker ? wf_fiber_has(worker->current) : NULL;
    bool replace = own != NULL && !own->hidden && is_in_told_code(own, tstate) && wf_cancel_take(worker->current);

    if (own == NULL || own->told == 0)
        wf_tstate_unwatch_errors(tstate, wf_cancel_tellings() > 0);
    if (replace)
        raise_instead(error);
    return replace;
}

/* {=== The handler ===} */

/* CPython calls it as a Python signal handler, in the main thread or in whoever impersonates it. */
static PyObject *answer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct wf_worker *worker = wf_this_worker;

    (void)self;
    (void)args;
    (void)count;
    answered = trips;
    if (worker != NULL && wf_cancel_take(worker->current)) {
        worker->told.fiber = NULL;
        PyErr_SetNone(wf_cancelled);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef answer_method = {
    "_cancelled", (PyCFunction)(void (*)(void))answer, METH_FASTCALL,
    "Raises weft.Cancelled in a green thread that was told of it.",
};

static bool have_handler, installing;

/* Attached.  False if it cannot be done now. */
static bool install_handler(struct wf_worker *worker)
{
    PyObject *function;

    if (have_handler)
        return true;
    function = PyCFunction_New(&answer_method, NULL);
    installing = true;
    worker->told.fiber = worker->current;
    have_handler = function != NULL && wf_tstate_set_handler(function) == 0;
    worker->told.fiber = NULL;
    installing = false;
    Py_XDECREF(function);
    if (!have_handler)
        PyErr_Clear();
    return have_handler;
}

bool wf_interrupt_is_installing(void)
{
    return installing;
}

bool wf_interrupt_is_impersonated(struct wf_worker *worker)
{
    struct wf_told *told = &worker->told;
    PyThreadState *tstate = wf_tstate_bound();

    if (installing)
        return true;
    if (tstate != NULL && answered != told->trips && wf_signal_count() == told->signals
        && is_in_told_code(wf_fiber_has(worker->current), tstate))
        return true;
    told->fiber = NULL;
    return false;
}

/* {=== Telling ===} */

/* Is the handler of a real signal still to be called?  Whoever impersonates the main thread would call it.  None was when the
 * last trip was made, which may still be seen: CPython looks once more after a handler that raised. */
static bool is_signal_pending(void)
{
    return wf_tstate_is_tripped() && (trips == 0 || wf_signal_count() != signals_at_trip);
}

static void trip(struct wf_worker *worker)
{
    struct wf_told *told = &worker->told;

    if (!install_handler(worker))
        return;
    told->signals = signals_at_trip = wf_signal_count();
    told->trips = ++trips;
    answered = trips - 1;
    told->fiber = worker->current;
    wf_tstate_trip();
}

/* Attached.  EINTR: it is told; ECANCELED: there is nobody to tell. */
static int tell(struct wf_worker *worker, PyThreadState *tstate)
{
    struct wf_belongings *own = wf_fiber_has(worker->current);

    worker->told.fiber = NULL;
    if (!wf_cancel_tell(worker->current, tstate, wf_now_ns()))
        return EINTR;
    own->told_in_c = true;
    wf_tstate_where(tstate, &own->told_frame, &own->told_instruction);
    wf_tstate_watch_calls(enter_python, leave_python);
    wf_tstate_watch_errors(tstate, see_error);
    if (!is_signal_pending())
        trip(worker);
    return EINTR;
}

static void give_main_a_chance(struct wf_worker *worker)
{
    for (int i = 0; i < CHANCES && is_signal_pending() && worker->current != worker->signals_to; i++) {
        wf_park_begin(worker);
        wf_park_shielded(worker, WF_PARK_BACKOFF, wf_deadline(CHANCE_NS));
    }
}

/* Did somebody else answer, so that the caller could not hear of it? */
static bool was_drowned_out(const struct wf_worker *worker)
{
    return worker->told.fiber != worker->current || answered == worker->told.trips;
}

/* For one whose cancellation is due. */
static bool is_ignored(struct wf_worker *worker)
{
    uint8_t told = wf_fiber_has(worker->current)->told;

    return told >= MOST_TIMES_TOLD || (told > 0 && !was_drowned_out(worker));
}

bool wf_interrupt_is_ignored(struct wf_worker *worker)
{
    return wf_cancel_is_possible(worker->current) && wf_cancel_is_due(worker->current) && is_ignored(worker);
}

bool wf_interrupt_say_lost(struct wf_worker *worker)
{
    struct wf_belongings *own = wf_fiber_has(worker->current);
    bool first = own->told < MOST_TIMES_TOLD;

    own->told = MOST_TIMES_TOLD;
    return first;
}

int wf_interrupt_errno(struct wf_worker *worker)
{
    PyThreadState *tstate = wf_tstate_bound();
    bool attached;
    int error;

    if (!wf_cancel_is_due(worker->current))
        return EINTR;
    if (tstate == NULL || is_ignored(worker))
        return ECANCELED;
    attached = wf_tstate_attached(tstate);
    if (wf_unlikely(is_signal_pending()))
        give_main_a_chance(worker);
    if (!attached)
        wf_tstate_attach(tstate);
    error = tell(worker, tstate);
    if (!attached)
        wf_tstate_detach(tstate);
    return error;
}
