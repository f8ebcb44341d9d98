/* interrupt.c - a cancellation in the clothes of a signal; interrupt.h has the idea. */
#include "interrupt.h"

#include "cancel.h"
#include "hook.h"
#include "tstate.h"

#include <errno.h>

/* Whoever was told so often, and never asked, must be a library that tries again. */
#define MOST_TIMES_TOLD 100

/* How often, and how long each time, the main thread is given a chance to run the handler of a real signal. */
#define CHANCES 20
#define CHANCE_NS WF_NS_PER_MS

/* Trips made and trips answered; with the GIL, but pthread_self may look without. */
static _Atomic unsigned trips, answered;

static unsigned signals_at_trip; /* how many signals had come when the last trip was made */

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
    const void *frame;
    intptr_t instruction;

    if (installing)
        return true;
    if (tstate != NULL)
        wf_tstate_where(tstate, &frame, &instruction);
    if (tstate != NULL && answered != told->trips && wf_tstate_has_async(tstate, wf_cancelled) && frame == told->frame
        && instruction == told->instruction && wf_signal_count() == told->signals)
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

static void trip(struct wf_worker *worker, PyThreadState *tstate)
{
    struct wf_told *told = &worker->told;

    if (!install_handler(worker))
        return;
    told->signals = signals_at_trip = wf_signal_count();
    told->trips = ++trips;
    answered = trips - 1;
    wf_tstate_where(tstate, &told->frame, &told->instruction);
    told->fiber = worker->current;
    wf_tstate_trip();
}

/* Attached.  EINTR: it is told; ECANCELED: there is nobody to tell. */
static int tell(struct wf_worker *worker, PyThreadState *tstate)
{
    worker->told.fiber = NULL;
    if (wf_cancel_tell(worker->current, tstate, wf_now_ns()) && !is_signal_pending())
        trip(worker, tstate);
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

int wf_interrupt_errno(struct wf_worker *worker)
{
    struct wf_fiber *self = worker->current;
    PyThreadState *tstate = wf_tstate_bound();
    uint8_t told;
    bool attached;
    int error;

    if (!wf_cancel_is_due(self))
        return EINTR;
    told = wf_fiber_has(self)->told;
    if (tstate == NULL || told >= MOST_TIMES_TOLD || (told > 0 && !was_drowned_out(worker)))
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
