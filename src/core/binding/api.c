/* api.c - what the functions that Python calls share; api.h has the idea. */
#include "api.h"

#include "cancel.h"

#include <math.h>

int64_t wf_seconds_to_ns(PyObject *seconds)
{
    double value = PyFloat_AsDouble(seconds);

    if (value == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(value)) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return -1;
    }
    if (value >= (double)(WF_NEVER / WF_NS_PER_S))
        return WF_NEVER;
    return value <= 0 ? 0 : (int64_t)ceil(value * 1e9);
}

int64_t wf_deadline_from(PyObject *timeout)
{
    int64_t ns;

    if (timeout == NULL || timeout == Py_None)
        return WF_NEVER;
    ns = wf_seconds_to_ns(timeout);
    return ns < 0 ? -1 : wf_deadline(ns);
}

/* Runs Python's signal handlers if there is something for them, and what else was left for the main thread, as a
 * lock's acquire does. */
int wf_see_to_interrupt(struct wf_worker *worker, enum wf_wake wake)
{
    if ((wake == WF_INTERRUPTED || wf_take_interrupt(worker)) && Py_MakePendingCalls() < 0)
        return -1;
    return wake == WF_INTERRUPTED ? wf_cancel_raise(worker->current) : 0;
}
