/* greenthread.c - spawn, join, result: green threads as Python sees them.  greenthread.h has the idea. */
#include "greenthread.h"

#include "api.h"
#include "cancel.h"
#include "hook.h"
#include "tstate.h"

#include <structmember.h>
#include <unistd.h>

/* There may be a million: 120 bytes with the collector's header, and nothing else for a call without arguments. */
struct wf_green {
    PyObject_HEAD
    struct wf_fiber *fiber; /* means this green thread only while fiber->serial == serial */
    uint64_t serial;
    PyObject *fn;           /* once it has ended: the function's name; NULL if not spawned */
    PyObject *args;         /* (*args, *keyword values); NULL if none, and once it has ended */
    PyObject *kwnames;
    PyObject *context;      /* NULL if the spawner had none */
    PyObject *name;         /* NULL until somebody sets or reads it */
    PyObject *outcome;      /* once it has ended: the result, or, if `failed`, the exception */
    PyObject *callbacks;    /* a list of whom to call when it has ended; NULL if none, and once they are called */
    PyObject *weakrefs;
    uint32_t number;        /* for the default name */
    uint16_t collectors;    /* how many wait in result() or exception() */
    bool ended : 1;
    bool failed : 1;
    bool cancelled : 1;     /* it failed with weft.Cancelled */
    bool collected : 1;     /* somebody has asked for the outcome since it ended */
    bool spawned : 1;       /* by weft.spawn */
    bool daemon : 1;
};

static PyTypeObject *green_type;
static PyObject *report_exception;  /* callable(green thread, exception) */
static PyObject *threading_active;  /* threading._active: identity -> Thread */
static PyObject *run_coroutine;     /* callable(coroutine), returns its result */
static PyObject *no_stack_error;    /* made early: when it is needed, there is no memory */
static PyObject *foreign_handles;   /* identity -> handle of a fiber not spawned by us */
static uint32_t spawned_count;

/* {=== Handles ===} */

static struct wf_green *green_new(struct wf_fiber *fiber, bool spawned)
{
    struct wf_green *green = PyObject_GC_New(struct wf_green, green_type);

    if (green == NULL)
        return NULL;
    green->fiber = fiber;
    green->serial = fiber->serial;
    green->fn = green->args = green->kwnames = green->context = NULL;
    green->name = green->outcome = green->callbacks = green->weakrefs = NULL;
    green->number = 0;
    green->collectors = 0;
    green->ended = green->failed = green->cancelled = green->collected = false;
    green->spawned = spawned;
    green->daemon = fiber->daemon;
    return green;
}

static int green_traverse(struct wf_green *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->fn);
    Py_VISIT(self->args);
    Py_VISIT(self->context);
    Py_VISIT(self->outcome);
    Py_VISIT(self->callbacks);
    return 0;
}

static int green_clear(struct wf_green *self)
{
    Py_CLEAR(self->fn);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwnames);
    Py_CLEAR(self->context);
    Py_CLEAR(self->name);
    Py_CLEAR(self->outcome);
    Py_CLEAR(self->callbacks);
    return 0;
}

static void green_dealloc(struct wf_green *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    green_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static bool green_alive(struct wf_green *self)
{
    return !self->ended && !wf_fiber_over(self->fiber, self->serial);
}

/* The name that a function written in Python has, or NULL.  Borrowed. */
static PyObject *function_name(PyObject *fn)
{
    if (PyMethod_Check(fn))
        fn = PyMethod_GET_FUNCTION(fn);
    return PyFunction_Check(fn) ? ((PyFunctionObject *)fn)->func_name : NULL;
}

static PyObject *label_of(PyObject *fn)
{
    PyObject *name = function_name(fn);

    return name != NULL ? Py_NewRef(name) : PyUnicode_InternFromString(Py_TYPE(fn)->tp_name);
}

struct wf_green_known wf_green_known(const struct wf_green *green)
{
    struct wf_green_known known = {.name = green->name, .number = green->number};

    if (green->spawned && !green->ended)
        known.function = function_name(green->fn);
    return known;
}

/* The handle of a fiber we did not spawn, made when first asked for. */
static PyObject *foreign_handle(struct wf_fiber *fiber)
{
    PyObject *ident = PyLong_FromUnsignedLong(wf_fiber_ident(fiber));
    struct wf_green *green;

    if (ident == NULL)
        return NULL;
    green = (struct wf_green *)Py_XNewRef(PyDict_GetItemWithError(foreign_handles, ident));
    if (green != NULL && green->serial != fiber->serial)
        Py_CLEAR(green); /* of an earlier thread with this identity */
    if (green == NULL && !PyErr_Occurred()) {
        green = green_new(fiber, false);
        if (green != NULL && PyDict_SetItem(foreign_handles, ident, (PyObject *)green) < 0)
            Py_CLEAR(green);
    }
    Py_DECREF(ident);
    return (PyObject *)green;
}

static PyObject *handle_of(struct wf_fiber *fiber)
{
    if (fiber->kind == WF_GREEN)
        return Py_XNewRef((PyObject *)fiber->green);
    return foreign_handle(fiber);
}

/* {=== Running ===} */

/* threading.current_thread() in a green thread registers a dummy Thread under our identity, which another may get. */
static void forget_dummy_thread(struct wf_fiber *fiber)
{
    PyObject *ident;

    if (threading_active == NULL || PyDict_GET_SIZE(threading_active) == 1)
        return;
    ident = PyLong_FromUnsignedLong(wf_fiber_ident(fiber));
    if (ident == NULL || (PyDict_Contains(threading_active, ident) == 1
                          && PyDict_DelItem(threading_active, ident) < 0))
        PyErr_Clear();
    Py_XDECREF(ident);
}

static PyObject *call(struct wf_green *self)
{
    PyObject **items = self->args ? ((PyTupleObject *)self->args)->ob_item : NULL;
    Py_ssize_t count = self->args ? PyTuple_GET_SIZE(self->args) : 0;
    Py_ssize_t keywords = self->kwnames ? PyTuple_GET_SIZE(self->kwnames) : 0;

    return PyObject_Vectorcall(self->fn, items, (size_t)(count - keywords), self->kwnames);
}

/* An async function has only begun to be called: its green thread is to see it through. */
static PyObject *call_through(struct wf_green *self)
{
    PyObject *result = call(self);

    if (result != NULL && PyCoro_CheckExact(result) && run_coroutine != NULL)
        Py_SETREF(result, PyObject_CallOneArg(run_coroutine, result));
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

/* threading's rule: an exception is reported at once, unless it ends the thread silently. */
static void report(struct wf_green *self)
{
    PyObject *result;

    if (!self->failed || self->cancelled || self->collectors > 0 || self->collected || report_exception == NULL
        || PyErr_GivenExceptionMatches(self->outcome, PyExc_SystemExit))
        return;
    result = PyObject_CallFunctionObjArgs(report_exception, self, self->outcome, NULL);
    if (result == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(result);
}

static void green_end(struct wf_green *self)
{
    Py_XSETREF(self->fn, label_of(self->fn));
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwnames);
    Py_CLEAR(self->context);
    self->ended = true;
    /* Until now the fiber held it, so the collector could only have wasted its time. */
    PyObject_GC_Track(self);
}

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

static PyObject *pack(PyObject *const *args, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);

    if (tuple != NULL)
        for (Py_ssize_t i = 0; i < count; i++)
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    return tuple;
}

static int green_fill(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    Py_ssize_t count = nargs - 1 + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);

    self->number = ++spawned_count;
    self->fn = Py_NewRef(args[0]);
    self->kwnames = Py_XNewRef(kwnames);
    if (count > 0 && (self->args = pack(args + 1, count)) == NULL)
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
    green = green_new(fiber, true);
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

/* {=== Waiting ===} */

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
static int parse_timeout(const char *function, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames, PyObject **timeout)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    *timeout = nargs + keywords > 0 ? args[0] : NULL;
    if (nargs + keywords > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", function,
                     nargs + keywords);
        return -1;
    }
    if (keywords == 1
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", function,
                     PyTuple_GET_ITEM(kwnames, 0));
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(join_doc,
"join($self, /, timeout=None)\n--\n\n"
"Wait until the green thread has ended, at most `timeout` seconds.\n\n"
"Like threading.Thread.join: returns None in either case and raises nothing of what\n"
"the green thread raised.  RuntimeError if it is the calling one.  Parks.");

static PyObject *green_join(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    PyObject *timeout;

    if (parse_timeout("join", args, nargs, kwnames, &timeout) < 0
        || wait_over(self, wf_deadline_from(timeout)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Waits as one who will take the exception, so that it need not be reported. */
static int collect(struct wf_green *self, const char *function, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *timeout;
    int over;

    if (parse_timeout(function, args, nargs, kwnames, &timeout) < 0)
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
    return 0;
}

/* What a Future that was cancelled raises. */
static PyObject *raise_cancelled_error(PyObject *cancelled)
{
    PyObject *futures = PyImport_ImportModule("concurrent.futures"), *error;

    error = futures ? PyObject_CallMethod(futures, "CancelledError", NULL) : NULL;
    Py_XDECREF(futures);
    if (error == NULL)
        return NULL;
    PyException_SetCause(error, Py_NewRef(cancelled));
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

PyDoc_STRVAR(result_doc,
"result($self, /, timeout=None)\n--\n\n"
"Wait for the end and return what the function returned, or raise what it raised.\n\n"
"Like concurrent.futures.Future.result: TimeoutError after `timeout` seconds, CancelledError (of concurrent.futures)\n"
"if it was cancelled.  Parks.");

static PyObject *green_result(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    if (collect(self, "result", args, nargs, kwnames) < 0)
        return NULL;
    if (self->cancelled)
        return raise_cancelled_error(self->outcome);
    if (self->failed) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->outcome), self->outcome);
        return NULL;
    }
    return Py_NewRef(self->outcome ? self->outcome : Py_None);
}

PyDoc_STRVAR(exception_doc,
"exception($self, /, timeout=None)\n--\n\n"
"Wait for the end and return the exception the function raised, or None.\n\n"
"Like concurrent.futures.Future.exception: TimeoutError after `timeout` seconds, CancelledError (of\n"
"concurrent.futures) if it was cancelled.  Parks.");

static PyObject *green_exception(struct wf_green *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames)
{
    if (collect(self, "exception", args, nargs, kwnames) < 0)
        return NULL;
    if (self->cancelled)
        return raise_cancelled_error(self->outcome);
    return Py_NewRef(self->failed ? self->outcome : Py_None);
}

PyDoc_STRVAR(done_doc, "done($self, /)\n--\n\nHas the green thread ended?  Does not park.");

static PyObject *green_done(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(!green_alive(self));
}

PyDoc_STRVAR(cancel_doc,
"cancel($self, /)\n--\n\n"
"Raise weft.Cancelled in it, once: in what it waits for, or will wait for next.  True unless it is over.\n\n"
"If it has not begun it never does.  From any thread; what becomes of it join() tells.  Does not park.");

static PyObject *green_cancel(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    if (!green_alive(self))
        Py_RETURN_FALSE;
    if (!wf_cancel_want(self->fiber))
        return PyErr_NoMemory();
    wf_sched_update_cancel(self->fiber);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(cancelled_doc,
"cancelled($self, /)\n--\n\nDid weft.Cancelled end it?  Does not park.");

static PyObject *green_cancelled(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(self->cancelled);
}

PyDoc_STRVAR(is_alive_doc,
"is_alive($self, /)\n--\n\nThe opposite of done(), under threading's name.  Does not park.");

static PyObject *green_is_alive(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(green_alive(self));
}

/* {=== Callbacks ===} */

PyDoc_STRVAR(add_done_callback_doc,
"add_done_callback($self, fn, /)\n--\n\n"
"Call fn(self) when the green thread has ended, in it; at once, and here, if it has already.\n\n"
"Like concurrent.futures.Future.add_done_callback: in the order added, before those who join it run;\n"
"what fn raises goes to sys.unraisablehook.  RuntimeError if it is alive and weft.spawn did not make it.");

static PyObject *green_add_done_callback(struct wf_green *self, PyObject *fn)
{
    if (!green_alive(self)) {
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

/* {=== Attributes ===} */

/* A thread made by threading has a name there. */
static PyObject *foreign_name(struct wf_green *self)
{
    PyObject *ident = PyLong_FromUnsignedLong(wf_fiber_ident(self->fiber));
    PyObject *thread, *name = NULL;

    if (ident == NULL)
        return NULL;
    if (self->fiber->kind == WF_ROOT)
        name = PyUnicode_FromString("MainThread");
    else if (threading_active != NULL
             && (thread = PyDict_GetItemWithError(threading_active, ident)) != NULL)
        name = PyObject_GetAttrString(thread, "name");
    if (name == NULL && !PyErr_Occurred())
        name = PyUnicode_FromFormat("Thread-%S", ident);
    Py_DECREF(ident);
    return name;
}

static PyObject *green_get_name(struct wf_green *self, void *closure)
{
    (void)closure;
    if (self->name == NULL) {
        if (!self->spawned)
            return foreign_name(self);
        PyObject *label = self->ended ? Py_NewRef(self->fn) : label_of(self->fn);
        self->name = PyUnicode_FromFormat("green-%u (%U)", (unsigned)self->number, label);
        Py_XDECREF(label);
    }
    return Py_XNewRef(self->name);
}

static int green_set_name(struct wf_green *self, PyObject *value, void *closure)
{
    PyObject *name;

    (void)closure;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a green thread's name can't be deleted");
        return -1;
    }
    name = PyObject_Str(value);
    if (name == NULL)
        return -1;
    Py_XSETREF(self->name, name);
    return 0;
}

static PyObject *green_get_ident(struct wf_green *self, void *closure)
{
    (void)closure;
    if (self->fiber->kind == WF_ROOT && self->fiber->serial == self->serial)
        return PyLong_FromUnsignedLong((unsigned long)self->fiber->worker->os_thread);
    return PyLong_FromUnsignedLong(wf_fiber_ident(self->fiber));
}

static PyObject *green_get_daemon(struct wf_green *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->daemon);
}

static int green_set_daemon(struct wf_green *self, PyObject *value, void *closure)
{
    int daemon = value ? PyObject_IsTrue(value) : -1;

    (void)closure;
    if (daemon < 0) {
        if (value == NULL)
            PyErr_SetString(PyExc_AttributeError, "daemon can't be deleted");
        return -1;
    }
    if (!self->spawned || !green_alive(self)) {
        PyErr_SetString(PyExc_RuntimeError, "daemon can be set on a live green thread "
                                            "made by weft.spawn only");
        return -1;
    }
    self->daemon = self->fiber->daemon = daemon > 0;
    return 0;
}

static PyObject *green_repr(struct wf_green *self)
{
    PyObject *name = green_get_name(self, NULL), *repr;

    if (name == NULL)
        return NULL;
    repr = PyUnicode_FromFormat("<GreenThread(%U, %s%s %lu)>", name,
                                green_alive(self) ? "alive" : self->cancelled ? "cancelled" : "done",
                                self->daemon ? " daemon" : "", wf_fiber_ident(self->fiber));
    Py_DECREF(name);
    return repr;
}

static PyMethodDef green_methods[] = {
    {"join", (PyCFunction)(void (*)(void))green_join, METH_FASTCALL | METH_KEYWORDS, join_doc},
    {"result", (PyCFunction)(void (*)(void))green_result, METH_FASTCALL | METH_KEYWORDS, result_doc},
    {"exception", (PyCFunction)(void (*)(void))green_exception, METH_FASTCALL | METH_KEYWORDS,
     exception_doc},
    {"done", (PyCFunction)green_done, METH_NOARGS, done_doc},
    {"is_alive", (PyCFunction)green_is_alive, METH_NOARGS, is_alive_doc},
    {"cancel", (PyCFunction)green_cancel, METH_NOARGS, cancel_doc},
    {"cancelled", (PyCFunction)green_cancelled, METH_NOARGS, cancelled_doc},
    {"add_done_callback", (PyCFunction)green_add_done_callback, METH_O, add_done_callback_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "GreenThread[T], for annotations."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef green_getset[] = {
    {"name", (getter)green_get_name, (setter)green_set_name,
     "The green thread's name, for people.  Settable.", NULL},
    {"ident", (getter)green_get_ident, NULL,
     "What threading.get_ident() returns inside it; unique among living threads.", NULL},
    {"daemon", (getter)green_get_daemon, (setter)green_set_daemon,
     "If true, the program does not wait for it at exit.  Inherited from the spawning thread;\n"
     "settable while the green thread is alive.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef green_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct wf_green, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(green_doc,
"A green thread, made by weft.spawn.\n\n"
"join, is_alive, name, ident and daemon mean what they mean for threading.Thread; result,\n"
"exception and done what they mean for concurrent.futures.Future.");

static PyType_Slot green_slots[] = {
    {Py_tp_doc, (void *)green_doc},
    {Py_tp_dealloc, green_dealloc},
    {Py_tp_traverse, green_traverse},
    {Py_tp_clear, green_clear},
    {Py_tp_repr, green_repr},
    {Py_tp_methods, green_methods},
    {Py_tp_getset, green_getset},
    {Py_tp_members, green_members},
    {0, NULL},
};

static PyType_Spec green_spec = {
    .name = "weft.GreenThread",
    .basicsize = sizeof(struct wf_green),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = green_slots,
};

/* {=== Functions ===} */

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

static PyObject *green_sleep(PyObject *module, PyObject *seconds)
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

PyDoc_STRVAR(current_doc,
"current()\n--\n\nThe GreenThread that is running: spawned, made by threading, or the main one.  Does not park.");

static PyObject *current(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = wf_worker_get();

    (void)module;
    (void)ignored;
    return worker == NULL ? NULL : handle_of(worker->current);
}

static int append_handle(struct wf_fiber *fiber, void *list)
{
    PyObject *handle;
    int result;

    if (!wf_fiber_is_living_green(fiber))
        return 0;
    handle = handle_of(fiber);
    if (handle == NULL)
        return PyErr_Occurred() ? -1 : 0; /* a spawned one that is just ending */
    result = PyList_Append(list, handle);
    Py_DECREF(handle);
    return result;
}

static PyObject *list_of(int (*append)(struct wf_fiber *fiber, void *list))
{
    PyObject *list = PyList_New(0);

    if (list != NULL && wf_fiber_each(append, list) < 0)
        Py_CLEAR(list);
    return list;
}

PyDoc_STRVAR(all_threads_doc,
"all_threads()\n--\n\n"
"A list of the living green threads of all OS threads, those made by threading included.  Does not park.");

static PyObject *all_threads(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return list_of(append_handle);
}

static int append_spawned(struct wf_fiber *fiber, void *list)
{
    return fiber->kind == WF_GREEN ? append_handle(fiber, list) : 0;
}

PyDoc_STRVAR(spawned_doc,
"_spawned()\n--\n\nA list of the living green threads that weft.spawn made.  Does not park.");

static PyObject *spawned(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return list_of(append_spawned);
}

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
    Py_XSETREF(report_exception, Py_NewRef(args[0]));
    Py_XSETREF(threading_active, Py_NewRef(args[1]));
    Py_XSETREF(run_coroutine, Py_NewRef(args[2]));
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
    if (!PyArg_ParseTuple(args, "O!O", green_type, &self, &fn))
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

static PyMethodDef functions[] = {
    {"spawn", (PyCFunction)(void (*)(void))spawn, METH_FASTCALL | METH_KEYWORDS, spawn_doc},
    {"yield_now", (PyCFunction)(void (*)(void))yield_now, METH_FASTCALL, yield_now_doc},
    {"sleep", green_sleep, METH_O, sleep_doc},
    {"current", current, METH_NOARGS, current_doc},
    {"all_threads", all_threads, METH_NOARGS, all_threads_doc},
    {"_remove_done_callback", remove_done_callback, METH_VARARGS, remove_done_callback_doc},
    {"_spawned", spawned, METH_NOARGS, spawned_doc},
    {"_set_callbacks", (PyCFunction)(void (*)(void))set_callbacks, METH_FASTCALL, set_callbacks_doc},
    {NULL, NULL, 0, NULL},
};

int wf_green_init(PyObject *module)
{
    green_type = (PyTypeObject *)PyType_FromSpec(&green_spec);
    foreign_handles = PyDict_New();
    no_stack_error = PyObject_CallFunction(PyExc_MemoryError, "s",
                                           "no memory for the stack of a green thread");
    if (green_type == NULL || foreign_handles == NULL || no_stack_error == NULL)
        return -1;
    wf_sched_set_green(run_green, stillborn_green);
    if (PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "GreenThread", (PyObject *)green_type);
}
