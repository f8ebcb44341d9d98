/* yield.c - weft.yield_now and weft.sleep: to let the others run, and to let time pass. */
#include "yield.h"

#include "api.h"
#include "cancel.h"

PyDoc_STRVAR(yield_now_doc,
"yield_now()\n--\n\nLet every other runnable green thread of this OS thread run once.  Parks only as long as that.");

static PyObject *yield_now(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct wf_worker *worker = wf_this_worker;

    (void)module;
    (void)args;
    if (wf_unlikely(nargs != 0)) {
        PyErr_SetString(PyExc_TypeError, "yield_now() takes no arguments");
        return NULL;
    }
    if (wf_unlikely(worker == NULL || worker->passing > 0))
        Py_RETURN_NONE;
    wf_yield(worker);
    if (wf_take_interrupt(worker) && PyErr_CheckSignals() < 0)
        return NULL;
    if (wf_cancel_is_possible(worker->current) && wf_cancel_raise(worker->current) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int sleep_until(struct wf_worker *worker, int64_t deadline_ns)
{
    enum wf_wake wake;

    do {
        wf_park_begin(worker);
        wake = wf_park(worker, WF_PARK_SLEEP, deadline_ns);
        if (wf_see_to_interrupt(worker, wake) < 0)
            return -1;
    } while (wake != WF_TIMED_OUT);
    return 0;
}

PyDoc_STRVAR(sleep_doc,
"sleep(seconds, /)\n--\n\n"
"Park the calling green thread for at least `seconds` (an int or a float); 0 yields.\n\n"
"ValueError if negative.  In the main thread, signal handlers run meanwhile, as in time.sleep.");

static PyObject *sleep_for(PyObject *module, PyObject *seconds)
{
    struct wf_worker *worker;
    int64_t ns;

    ns = wf_seconds_to_ns(seconds);
    if (ns < 0)
        return NULL;
    if (ns == 0) {
        if (PyFloat_AsDouble(seconds) < 0) {
            PyErr_SetString(PyExc_ValueError, "sleep length must be non-negative");
            return NULL;
        }
        return yield_now(module, NULL, 0);
    }
    worker = wf_worker_get();
    if (worker == NULL || sleep_until(worker, wf_deadline(ns)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"yield_now", (PyCFunction)(void (*)(void))yield_now, METH_FASTCALL, yield_now_doc},
    {"sleep", sleep_for, METH_O, sleep_doc},
    {NULL, NULL, 0, NULL},
};

int wf_yield_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
