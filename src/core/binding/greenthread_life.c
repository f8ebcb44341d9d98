/* greenthread_life.c - a green thread from weft.spawn to its end: what runs in it, and what is done when it has ended.
 *
 *     spawn -+-> run_green: the function, in the spawner's context --> report and callbacks --> over
 *            `-> stillborn_green: no stack could be had for it; callbacks are left to others --^
 *
 * Those who join it go on when the fiber is over (fiber.h), which is after all callbacks; `ended` is set before the
 * first of them, so that a callback can ask for the outcome.  An exception is reported while the thread is still
 * alive, as threading does it, unless somebody collects it; if there are callbacks, one may: the report waits for them.
 */
#include "greenthread_core.h"

#include "cancel.h"
#include "hook.h"
#include "sched.h"
#include "tstate.h"

#include <unistd.h>

struct wf_green_lent wf_green_lent;
static PyObject *no_stack_error; /* made early: when it is needed, there is no memory */
static uint32_t spawned_count;

/* {=== Callbacks ===} */

static void call_back(struct wf_green *self, PyObject *fn)
{
    PyObject *result = PyObject_CallOneArg(fn, (PyObject *)self);

    if (result == NULL)
        PyErr_WriteUnraisable(fn);
    Py_XDECREF(result);
}

/* It has ended, so nobody adds to the list any more. */
static void call_all_back(struct wf_green *self)
{
    PyObject *callbacks = self->callbacks;

    self->callbacks = NULL;
    for (Py_ssize_t i = 0; callbacks != NULL && i < PyList_GET_SIZE(callbacks); i++)
        call_back(self, PyList_GET_ITEM(callbacks, i));
    Py_XDECREF(callbacks);
}

const char wf_green_add_done_callback_doc[] = PyDoc_STR(
"add_done_callback($self, fn, /)\n--\n\n"
"Call fn(self) when the green thread has ended, in it; at once, and here, if it has already.\n\n"
"Like concurrent.futures.Future.add_done_callback: in the order added, before those who join it run;\n"
"what fn raises goes to sys.unraisablehook.  RuntimeError if it is alive and weft.spawn did not make it.");

PyObject *wf_green_add_done_callback(struct wf_green *self, PyObject *fn)
{
    if (!wf_green_alive(self)) {
        call_back(self, fn);
        Py_RETURN_NONE;
    }
    if (!self->spawned) {
        PyErr_SetString(PyExc_RuntimeError, "callbacks can be added to a green thread made by weft.spawn only");
        return NULL;
    }
    if (self->callbacks == NULL && (self->callbacks = PyList_New(0)) == NULL)
        return NULL;
    if (PyList_Append(self->callbacks, fn) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_done_callback_doc,
"_remove_done_callback(green_thread, fn, /)\n--\n\nTake back what add_done_callback was given, if it was.");

static PyObject *remove_done_callback(PyObject *module, PyObject *args)
{
    struct wf_green *self;
    PyObject *fn;
    Py_ssize_t i;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O", wf_green_type, &self, &fn))
        return NULL;
    if (self->callbacks == NULL)
        Py_RETURN_NONE;
    i = PySequence_Contains(self->callbacks, fn) == 1 ? PySequence_Index(self->callbacks, fn) : -1;
    if (i >= 0 && PySequence_DelItem(self->callbacks, i) < 0)
        return NULL;
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* {=== Running ===} */

/* threading.current_thread() in a green thread registers a dummy Thread under our identity, which another may get. */
static void forget_dummy_thread(struct wf_fiber *fiber)
{
    PyObject *ident;

    if (wf_green_lent.threads == NULL || PyDict_GET_SIZE(wf_green_lent.threads) == 1)
        return;
    ident = PyLong_FromUnsignedLong(wf_fiber_ident(fiber));
    if (ident == NULL || (PyDict_Contains(wf_green_lent.threads, ident) == 1
                          && PyDict_DelItem(wf_green_lent.threads, ident) < 0))
        PyErr_Clear();
    Py_XDECREF(ident);
}

static PyObject *call_packed(const struct wf_green *self)
{
    Py_ssize_t count = PyTuple_GET_SIZE(self->args) - 1;
    PyObject *names = PyTuple_GET_ITEM(self->args, count);

    if (names == Py_None)
        names = NULL;
    else
        count -= PyTuple_GET_SIZE(names);
    return PyObject_Vectorcall(self->fn, ((PyTupleObject *)self->args)->ob_item, (size_t)count, names);
}

static PyObject *call(struct wf_green *self)
{
    if (self->packed)
        return call_packed(self);
    return PyObject_Vectorcall(self->fn, &self->args, self->args != NULL, NULL);
}

/* An async function has only begun to be called: its green thread is to see it through. */
static PyObject *call_through(struct wf_green *self)
{
    PyObject *result = call(self);

    if (result != NULL && PyCoro_CheckExact(result) && wf_green_lent.run_coroutine != NULL)
        Py_SETREF(result, PyObject_CallOneArg(wf_green_lent.run_coroutine, result));
    return result;
}

static PyObject *call_in_context(struct wf_green *self)
{
    PyObject *result;

    if (self->context == NULL)
        return call_through(self);
    if (PyContext_Enter(self->context) < 0)
        return NULL;
    result = call_through(self);
    if (PyContext_Exit(self->context) < 0) {
        /* The function left a context of its own entered; that ends with the thread. */
        PyErr_WriteUnraisable(self->fn);
    }
    return result;
}

/* {=== Ending ===} */

/* threading's rule: an exception is reported at once, unless it ends the thread silently. */
static void report(struct wf_green *self)
{
    PyObject *result;

    if (!self->failed || self->cancelled || self->collectors > 0 || self->collected
        || wf_green_lent.report_exception == NULL || PyErr_GivenExceptionMatches(self->outcome, PyExc_SystemExit))
        return;
    result = PyObject_CallFunctionObjArgs(wf_green_lent.report_exception, self, self->outcome, NULL);
    if (result == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(result);
}

static void green_end(struct wf_green *self)
{
    wf_assert(!self->ended, "a green thread ends once");
    Py_XSETREF(self->fn, wf_green_label(self->fn));
    Py_CLEAR(self->args);
    Py_CLEAR(self->context);
    self->ended = true;
    /* Until now the fiber held it, so the collector could only have wasted its time. */
    PyObject_GC_Track(self);
}

/* threading reports while the thread is alive; but a callback may be the one who collects. */
static void report_and_end(struct wf_green *self)
{
    bool last_chance = self->callbacks != NULL;

    if (!last_chance)
        report(self);
    green_end(self);
    call_all_back(self);
    if (last_chance)
        report(self);
}

/* What came out of the function.  If that was told of a cancellation, an error that comes out before CPython could raise
 * weft.Cancelled is how the function's C code took it. */
static PyObject *failure(struct wf_fiber *fiber)
{
    PyObject *exception = wf_take_exception(), *error = exception;

    if (!wf_cancel_take(fiber))
        return exception;
    PyErr_SetNone(wf_cancelled);
    exception = wf_take_exception();
    PyException_SetContext(exception, error);
    return exception;
}

static void run_green(struct wf_fiber *fiber)
{
    struct wf_green *self = fiber->green;

    if (wf_cancel_raise(fiber) == 0)
        self->outcome = call_in_context(self);
    if (self->outcome == NULL) {
        self->outcome = failure(fiber);
        self->failed = true;
        self->cancelled = PyErr_GivenExceptionMatches(self->outcome, wf_cancelled);
    }
    wf_cancel_end(fiber);
    report_and_end(self);
    forget_dummy_thread(fiber);
    fiber->green = NULL;
    Py_DECREF(self);
}

/* {=== No stack ===} */

/* Straight to the descriptor: Python's stderr may need a lock, and we are in the middle of somebody's park. */
static void say_once(void)
{
    static const char message[] = "weft: a green thread could not start: no memory for its stack "
                                  "(its result() raises MemoryError; said once)\n";
    static bool said;

    if (!said && write(STDERR_FILENO, message, sizeof message - 1) > 0)
        said = true;
}

static int call_all_back_later(void *self)
{
    call_all_back(self);
    Py_DECREF(self);
    return 0;
}

/* Callbacks may park, and whoever is here is parking already: the main green thread shall call them. */
static void leave_callbacks(struct wf_green *self)
{
    if (self->callbacks == NULL)
        return;
    if (Py_AddPendingCall(call_all_back_later, Py_NewRef((PyObject *)self)) == 0) {
        wf_sched_interrupt();
        return;
    }
    Py_DECREF(self);
    PyErr_SetString(PyExc_RuntimeError, "no room to call a green thread's callbacks");
    PyErr_WriteUnraisable((PyObject *)self);
}

/* No stack could be had for it. */
static void stillborn_green(struct wf_fiber *fiber)
{
    struct wf_green *self = fiber->green;

    self->outcome = Py_NewRef(no_stack_error);
    self->failed = true;
    say_once();
    green_end(self);
    leave_callbacks(self);
    fiber->green = NULL;
    Py_DECREF(self);
}

/* {=== spawn ===} */

/* See wf_green.args. */
static PyObject *pack(PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    PyObject *tuple = PyTuple_New(count + 1);

    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    PyTuple_SET_ITEM(tuple, count, Py_NewRef(kwnames ? kwnames : Py_None));
    return tuple;
}

static int green_fill(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t count = nargs - 1 + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);

    self->number = ++spawned_count;
    self->fn = Py_NewRef(args[0]);
    self->packed = count > 1 || kwnames != NULL;
    if (self->packed)
        self->args = pack(args + 1, count, kwnames);
    else if (count > 0)
        self->args = Py_NewRef(args[1]);
    if ((self->packed || count > 0) && self->args == NULL)
        return -1;
    return wf_context_copy(&self->context);
}

PyDoc_STRVAR(spawn_doc,
"spawn(fn, /, *args, **kwargs)\n--\n\n"
"Start fn(*args, **kwargs) in a new green thread and return its GreenThread.\n\n"
"It runs on this OS thread, from the moment the caller next parks, in a copy of the\n"
"caller's contextvars context.  The first spawn switches the libc hooks on.\n"
"Raises MemoryError if there is no room for another green thread.  Does not park.");

static PyObject *spawn(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_fiber *fiber;
    struct wf_green *green;

    (void)module;
    if (worker == NULL)
        return NULL;
    if (nargs == 0 || !PyCallable_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "spawn() needs a callable as its first argument");
        return NULL;
    }
    if (worker->passing > 0) {
        PyErr_SetString(PyExc_RuntimeError, "can't spawn a green thread at interpreter shutdown");
        return NULL;
    }
    if (wf_hook_ensure() < 0)
        return NULL;
    fiber = wf_fiber_new(worker, &worker->spare_fibers, WF_GREEN);
    if (fiber == NULL)
        return PyErr_NoMemory();
    fiber->daemon = worker->current->daemon;
    green = wf_green_new(fiber, true);
    if (green == NULL || green_fill(green, args, nargs, kwnames) < 0)
        goto error;
    fiber->green = (struct wf_green *)Py_NewRef((PyObject *)green);
    wf_tstate_place(&fiber->spawn_code, &fiber->spawn_offset);
    if (!wf_sched_start_green(worker, fiber, PyThread_get_stacksize())) {
        Py_DECREF(green);
        PyErr_NoMemory();
        goto error;
    }
    return (PyObject *)green;
error:
    wf_fiber_free(fiber, &worker->spare_fibers);
    Py_XDECREF(green);
    return NULL;
}

/* {=== What is lent ===} */

PyDoc_STRVAR(set_callbacks_doc,
"_set_callbacks(report_exception, active, run_coroutine, /)\n--\n\n"
"What weft._threads lends: the reporter of uncollected exceptions, threading's table of threads, and who\n"
"sees coroutines through.");

static PyObject *set_callbacks(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3 || !PyCallable_Check(args[0]) || !PyDict_Check(args[1]) || !PyCallable_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "_set_callbacks() takes a callable, a dict and a callable");
        return NULL;
    }
    Py_XSETREF(wf_green_lent.report_exception, Py_NewRef(args[0]));
    Py_XSETREF(wf_green_lent.threads, Py_NewRef(args[1]));
    Py_XSETREF(wf_green_lent.run_coroutine, Py_NewRef(args[2]));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"spawn", (PyCFunction)(void (*)(void))spawn, METH_FASTCALL | METH_KEYWORDS, spawn_doc},
    {"_remove_done_callback", remove_done_callback, METH_VARARGS, remove_done_callback_doc},
    {"_set_callbacks", (PyCFunction)(void (*)(void))set_callbacks, METH_FASTCALL, set_callbacks_doc},
    {NULL, NULL, 0, NULL},
};

int wf_green_life_init(PyObject *module)
{
    no_stack_error = PyObject_CallFunction(PyExc_MemoryError, "s",
                                           "no memory for the stack of a green thread");
    if (no_stack_error == NULL)
        return -1;
    wf_sched_set_green(run_green, stillborn_green);
    return PyModule_AddFunctions(module, functions);
}
