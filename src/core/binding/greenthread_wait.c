/* greenthread_wait.c - waiting for the end of a green thread: join, result, exception.
 *
 * Who waits leaves a joiner (fiber.h) on his own stack and parks.  Who asks for the outcome *collects* it: as long
 * as he waits, and once he has been there, an exception need not be reported, for he will raise it.  Who merely
 * joins does not.
 */
#include "greenthread_core.h"

#include "arguments.h"

/* Waits until the green thread is over: 1; 0: the deadline came first; -1 with an exception. */
static int wait_over(struct wf_green *self, int64_t deadline_ns)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_joiner joiner;
    enum wf_wake wake;

    if (worker == NULL || deadline_ns < 0)
        return -1;
    if (self->ended)
        return 1; /* so callbacks, which run in the green thread itself, can ask for its outcome */
    if (self->fiber == worker->current && self->serial == worker->current->serial) {
        PyErr_SetString(PyExc_RuntimeError, "cannot join current thread");
        return -1;
    }
    for (;;) {
        joiner.fiber = worker->current;
        joiner.park_id = wf_park_begin(worker);
        if (!wf_fiber_add_joiner(self->fiber, self->serial, &joiner))
            return 1;
        worker->current->awaited = (intptr_t)self->fiber;
        wake = wf_park(worker, WF_PARK_JOIN, deadline_ns);
        wf_fiber_remove_joiner(&joiner);
        if (wf_fiber_over(self->fiber, self->serial))
            return 1;
        if (wake == WF_TIMED_OUT)
            return 0;
        if (wf_see_to_interrupt(worker, wake) < 0)
            return -1;
    }
}

/* The optional argument `timeout` of join, result and exception; 0, or -1 with an exception. */
static int bind_timeout(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                        PyObject **timeout)
{
    const struct wf_signature signature = {function, {"timeout"}, 1, 0};

    return wf_bind(&signature, args, nargs, kwnames, timeout);
}

const char wf_green_join_doc[] = PyDoc_STR(
"join($self, /, timeout=None)\n--\n\n"
"Wait until the green thread has ended, at most `timeout` seconds.\n\n"
"Like threading.Thread.join: returns None in either case and raises nothing of what\n"
"the green thread raised.  RuntimeError if it is the calling one.  Parks.");

PyObject *wf_green_join(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *timeout;

    if (bind_timeout("join", args, nargs, kwnames, &timeout) < 0
        || wait_over(self, wf_deadline_from(timeout)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* What a Future that was cancelled raises. */
static void raise_cancelled_error(PyObject *cancelled)
{
    PyObject *futures = PyImport_ImportModule("concurrent.futures"), *error;

    error = futures ? PyObject_CallMethod(futures, "CancelledError", NULL) : NULL;
    Py_XDECREF(futures);
    if (error == NULL)
        return;
    PyException_SetCause(error, Py_NewRef(cancelled));
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

/* Waits as one who will take the exception, so that it need not be reported.  0: there is an outcome; -1 with an exception. */
static int collect(struct wf_green *self, const char *function, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    PyObject *timeout;
    int over;

    if (bind_timeout(function, args, nargs, kwnames, &timeout) < 0)
        return -1;
    self->collectors++;
    over = wait_over(self, wf_deadline_from(timeout));
    self->collectors--;
    self->collected = self->collected || self->ended;
    if (over == 0)
        PyErr_SetNone(PyExc_TimeoutError);
    if (over <= 0)
        return -1;
    if (self->spawned && !self->ended) {
        PyErr_SetString(PyExc_RuntimeError, "the green thread did not survive os.fork()");
        return -1;
    }
    if (self->cancelled) {
        raise_cancelled_error(self->outcome);
        return -1;
    }
    return 0;
}

const char wf_green_result_doc[] = PyDoc_STR(
"result($self, /, timeout=None)\n--\n\n"
"Wait for the end and return what the function returned, or raise what it raised.\n\n"
"Like concurrent.futures.Future.result: TimeoutError after `timeout` seconds, CancelledError (of concurrent.futures)\n"
"if it was cancelled.  Parks.");

PyObject *wf_green_result(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (collect(self, "result", args, nargs, kwnames) < 0)
        return NULL;
    if (self->failed) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->outcome), self->outcome);
        return NULL;
    }
    return Py_NewRef(self->outcome ? self->outcome : Py_None);
}

const char wf_green_exception_doc[] = PyDoc_STR(
"exception($self, /, timeout=None)\n--\n\n"
"Wait for the end and return the exception the function raised, or None.\n\n"
"Like concurrent.futures.Future.exception: TimeoutError after `timeout` seconds, CancelledError (of\n"
"concurrent.futures) if it was cancelled.  Parks.");

PyObject *wf_green_exception(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (collect(self, "exception", args, nargs, kwnames) < 0)
        return NULL;
    return Py_NewRef(self->failed ? self->outcome : Py_None);
}
