/* arguments.c - arguments of methods that are called very often; arguments.h has the idea. */
#include "arguments.h"

/* The longest wait that threading allows: threading.TIMEOUT_MAX. */
#define MOST_SECONDS ((double)(INT64_MAX / WF_NS_PER_S))

static int index_of(const struct wf_signature *signature, PyObject *name)
{
    for (int i = 0; i < signature->count; i++)
        if (PyUnicode_CompareWithASCIIString(name, signature->parameters[i]) == 0)
            return i;
    return -1;
}

static int bind_keyword(const struct wf_signature *signature, PyObject *name, PyObject *value, PyObject **bound)
{
    int index = index_of(signature, name);

    if (index < 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function, name);
        return -1;
    }
    if (bound[index] != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature->function, name);
        return -1;
    }
    bound[index] = value;
    return 0;
}

int wf_bind(const struct wf_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
            PyObject **bound)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs > signature->count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d argument%s (%zd given)", signature->function,
                     signature->count, signature->count == 1 ? "" : "s", nargs);
        return -1;
    }
    for (int i = 0; i < signature->count; i++)
        bound[i] = i < nargs ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < keywords; i++)
        if (bind_keyword(signature, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], bound) < 0)
            return -1;
    for (int i = 0; i < signature->required; i++)
        if (bound[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", signature->function,
                         signature->parameters[i]);
            return -1;
        }
    return 0;
}

int wf_bind_count(const struct wf_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                  Py_ssize_t *count)
{
    PyObject *bound;

    wf_assert(signature->count == 1, "a signature of one argument");
    if (wf_bind(signature, args, nargs, kwnames, &bound) < 0)
        return -1;
    if (bound != NULL)
        *count = PyNumber_AsSsize_t(bound, PyExc_OverflowError);
    return bound != NULL && *count == -1 && PyErr_Occurred() ? -1 : 0;
}

/* {=== May I wait, and how long? ===} */

static inline int truth(PyObject *value)
{
    return value == NULL || value == Py_True ? 1 : PyObject_IsTrue(value);
}

int64_t wf_queue_deadline(PyObject *block, PyObject *timeout)
{
    int waits = truth(block);
    double seconds;

    if (waits <= 0)
        return waits < 0 ? -1 : WF_AT_ONCE;
    if (timeout == NULL || timeout == Py_None)
        return WF_NEVER;
    seconds = PyFloat_AsDouble(timeout);
    if (seconds < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "'timeout' must be a non-negative number");
        return -1;
    }
    return wf_deadline_from(timeout);
}

int64_t wf_semaphore_deadline(PyObject *blocking, PyObject *timeout)
{
    int waits = truth(blocking);

    if (waits < 0)
        return -1;
    if (waits == 0 && timeout != NULL && timeout != Py_None) {
        PyErr_SetString(PyExc_ValueError, "can't specify timeout for non-blocking acquire");
        return -1;
    }
    return waits ? wf_deadline_from(timeout) : WF_AT_ONCE;
}

int64_t wf_lock_deadline(PyObject *blocking, PyObject *timeout)
{
    int waits = truth(blocking);
    double seconds;

    if (waits < 0)
        return -1;
    if (timeout == NULL)
        return waits ? WF_NEVER : WF_AT_ONCE;
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0)
        return PyErr_Occurred() ? -1 : waits ? WF_NEVER : WF_AT_ONCE;
    if (!waits)
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
    else if (seconds < 0)
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
    else if (seconds > MOST_SECONDS)
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
    else
        return wf_deadline_from(timeout);
    return -1;
}
