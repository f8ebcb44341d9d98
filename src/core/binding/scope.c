/* scope.c - see scope.h; what is cancelled when stands in cancel.c. */
#include "scope.h"

#include "api.h"
#include "cancel.h"
#include "hook.h"

#include <math.h>

struct scope {
    PyObject_HEAD
    struct wf_scope scope;
    bool raises;  /* TimeoutError when its deadline has ended it */
    bool entered; /* once is enough */
    bool caught;
};

static PyTypeObject *scope_type, *guarded_type;

/* {=== Deadlines ===} */

/* 0 is for what is cancelled already. */
#define EARLIEST_NS 1

/* A moment of time.monotonic(), or None for never.  -1 with an exception. */
static int64_t deadline_from_moment(PyObject *moment)
{
    int64_t ns = moment == Py_None ? WF_NEVER : wf_seconds_to_ns(moment);

    return ns == 0 ? EARLIEST_NS : ns;
}

static PyObject *scope_new(int64_t deadline_ns, bool raises, bool shield)
{
    struct scope *self = deadline_ns < 0 ? NULL : PyObject_New(struct scope, scope_type);

    if (self == NULL)
        return NULL;
    self->scope = (struct wf_scope){.deadline_ns = deadline_ns, .shield = shield};
    self->raises = raises;
    self->entered = self->caught = false;
    return (PyObject *)self;
}

static PyObject *scope_type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"deadline", "shield", NULL};
    PyObject *deadline = Py_None;
    int shield = false;

    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$Op:CancelScope", names, &deadline, &shield))
        return NULL;
    return scope_new(deadline_from_moment(deadline), false, shield);
}

static void scope_dealloc(struct scope *self)
{
    PyTypeObject *type = Py_TYPE(self);

    wf_scope_leave(&self->scope); /* it may be in the frame of a generator that nobody will go on with */
    type->tp_free(self);
    Py_DECREF(type);
}

/* {=== In and out ===} */

static PyObject *scope_enter(struct scope *self, PyObject *ignored)
{
    struct wf_worker *worker = wf_worker_get();

    (void)ignored;
    if (worker == NULL || wf_hook_ensure() < 0)
        return NULL;
    if (self->entered) {
        PyErr_SetString(PyExc_RuntimeError, "a cancel scope can be entered only once");
        return NULL;
    }
    if (!wf_scope_enter(&self->scope, worker->current))
        return PyErr_NoMemory();
    self->entered = true;
    wf_sched_note_scopes(worker);
    return Py_NewRef((PyObject *)self);
}

/* From the exception by which the cancellation came out, if it came by one. */
static PyObject *raise_timeout(PyObject *exception)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);

    if (error == NULL)
        return NULL;
    if (exception != Py_None)
        PyException_SetCause(error, Py_NewRef(exception));
    PyErr_SetObject(PyExc_TimeoutError, error);
    Py_DECREF(error);
    return NULL;
}

/* A C library may have failed, or even succeeded, in a call that was told of a cancellation; then that is what
 * comes out of the block, before CPython could raise it. */
static PyObject *come_out(struct scope *self, struct wf_fiber *fiber, PyObject *exception, bool told)
{
    if (!told && !PyErr_GivenExceptionMatches(exception, wf_cancelled))
        Py_RETURN_FALSE;
    if (wf_scope_absorbs(&self->scope, fiber)) {
        self->caught = true;
        if (self->raises && self->scope.expired)
            return raise_timeout(exception);
        Py_RETURN_TRUE;
    }
    if (told) {
        PyErr_SetNone(wf_cancelled);
        return NULL;
    }
    Py_RETURN_FALSE;
}

static PyObject *scope_exit(struct scope *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct wf_worker *worker = wf_worker_get();
    bool mine, told;

    if (worker == NULL)
        return NULL;
    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments (%zd given)", nargs);
        return NULL;
    }
    mine = wf_scope_is_entered(&self->scope) && self->scope.fiber == worker->current;
    told = mine && wf_cancel_take(worker->current);
    wf_scope_leave(&self->scope);
    wf_sched_note_scopes(worker);
    if (mine)
        return come_out(self, worker->current, args[1], told);
    PyErr_SetString(PyExc_RuntimeError, "a cancel scope must be left once, by the green thread that entered it");
    return NULL;
}

/* {=== Asked and told from anywhere ===} */

static void changed(struct scope *self)
{
    if (wf_scope_is_entered(&self->scope))
        wf_sched_update_cancel(self->scope.fiber);
}

PyDoc_STRVAR(cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel what runs in the scope, if it is not cancelled already.  From any thread.  Does not park.\n\n"
"Before the scope is entered, it cancels the first wait in it.");

static PyObject *scope_cancel(struct scope *self, PyObject *ignored)
{
    (void)ignored;
    if (!self->scope.called) {
        self->scope.called = true;
        changed(self);
    }
    Py_RETURN_NONE;
}

static PyObject *scope_get_deadline(struct scope *self, void *closure)
{
    (void)closure;
    return PyFloat_FromDouble(self->scope.deadline_ns == WF_NEVER ? INFINITY
                                                                  : (double)self->scope.deadline_ns / WF_NS_PER_S);
}

static int scope_set_deadline(struct scope *self, PyObject *value, void *closure)
{
    int64_t deadline_ns;

    (void)closure;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a scope's deadline can't be deleted");
        return -1;
    }
    deadline_ns = deadline_from_moment(value);
    if (deadline_ns < 0)
        return -1;
    self->scope.deadline_ns = deadline_ns;
    changed(self);
    return 0;
}

static PyObject *scope_get_shield(struct scope *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->scope.shield);
}

static int scope_set_shield(struct scope *self, PyObject *value, void *closure)
{
    int shield = value ? PyObject_IsTrue(value) : -1;

    (void)closure;
    if (shield < 0) {
        if (value == NULL)
            PyErr_SetString(PyExc_AttributeError, "a scope's shield can't be deleted");
        return -1;
    }
    self->scope.shield = shield > 0;
    changed(self);
    return 0;
}

static PyObject *scope_get_cancel_called(struct scope *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->scope.called
                           || (wf_scope_is_entered(&self->scope) && self->scope.deadline_ns <= wf_now_ns()));
}

static PyObject *scope_get_caught(struct scope *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->caught);
}

static PyObject *scope_repr(struct scope *self)
{
    return PyUnicode_FromFormat("<%s%s%s%s>", self->raises ? "timeout" : "CancelScope",
                                wf_scope_is_entered(&self->scope) ? " entered" : self->entered ? " left" : "",
                                self->scope.called ? " cancelled" : "", self->scope.shield ? " shielding" : "");
}

static PyMethodDef scope_methods[] = {
    {"cancel", (PyCFunction)scope_cancel, METH_NOARGS, cancel_doc},
    {"__enter__", (PyCFunction)scope_enter, METH_NOARGS, "Returns the scope."},
    {"__exit__", (PyCFunction)(void (*)(void))scope_exit, METH_FASTCALL,
     "Lets nothing of this scope's cancellation out, and everything else."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef scope_getset[] = {
    {"deadline", (getter)scope_get_deadline, (setter)scope_set_deadline,
     "When it is cancelled, in seconds of time.monotonic(); math.inf for never.  Settable, None too.", NULL},
    {"shield", (getter)scope_get_shield, (setter)scope_set_shield,
     "Whether cancellations from outside it wait until it is left.  Settable.", NULL},
    {"cancel_called", (getter)scope_get_cancel_called, NULL,
     "Whether it is cancelled: by cancel(), or because its deadline has come.", NULL},
    {"cancelled_caught", (getter)scope_get_caught, NULL,
     "Whether a cancellation of it ended its block.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(scope_doc,
"CancelScope(*, deadline=None, shield=False)\n--\n\n"
"A block of code that can be cancelled: by cancel(), or when time.monotonic() has reached `deadline`.\n\n"
"Used once, as a context manager.  What waits in the block raises weft.Cancelled, which ends at the block's end.\n"
"With `shield`, cancellations from outside the block are put off until its end.");

static PyType_Slot scope_slots[] = {
    {Py_tp_doc, (void *)scope_doc},
    {Py_tp_new, scope_type_new},
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_repr, scope_repr},
    {Py_tp_methods, scope_methods},
    {Py_tp_getset, scope_getset},
    {0, NULL},
};

static PyType_Spec scope_spec = {
    .name = "weft.CancelScope",
    .basicsize = sizeof(struct scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scope_slots,
};

/* {=== timeout and its kin ===} */

static PyObject *scope_after(PyObject *seconds, bool raises)
{
    int64_t deadline_ns = wf_deadline_from(seconds);

    return scope_new(deadline_ns == 0 ? EARLIEST_NS : deadline_ns, raises, false);
}

PyDoc_STRVAR(timeout_doc,
"timeout(seconds, /)\n--\n\n"
"A scope (see CancelScope) that raises TimeoutError if its block takes longer than `seconds`; None: no limit.");

static PyObject *timeout(PyObject *module, PyObject *seconds)
{
    (void)module;
    return scope_after(seconds, true);
}

PyDoc_STRVAR(timeout_at_doc,
"timeout_at(when, /)\n--\n\n"
"A scope (see CancelScope) that raises TimeoutError if time.monotonic() reaches `when` in its block; None: never.");

static PyObject *timeout_at(PyObject *module, PyObject *when)
{
    (void)module;
    return scope_new(deadline_from_moment(when), true, false);
}

PyDoc_STRVAR(move_on_after_doc,
"move_on_after(seconds, /)\n--\n\n"
"A scope (see CancelScope) whose block just ends when it has taken `seconds`; None: no limit.");

static PyObject *move_on_after(PyObject *module, PyObject *seconds)
{
    (void)module;
    return scope_after(seconds, false);
}

/* {=== Guarded ===} */

/* Calls a method of `self` while the running fiber cannot be preempted; it may park. */
static PyObject *call_guarded(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs)
{
    struct wf_worker *worker = wf_worker_get();
    PyObject *method = worker ? PyObject_GetAttrString(self, name) : NULL;
    PyObject *result;

    if (method == NULL)
        return NULL;
    worker->current->no_preempt++;
    result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    worker->current->no_preempt--;
    Py_DECREF(method);
    return result;
}

static PyObject *guarded_enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return call_guarded(self, "_enter", NULL, 0);
}

static PyObject *guarded_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs == 3)
        return call_guarded(self, "_exit", &args[1], 1);
    PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments (%zd given)", nargs);
    return NULL;
}

static PyMethodDef guarded_methods[] = {
    {"__enter__", (PyCFunction)guarded_enter, METH_NOARGS, "Calls self._enter()."},
    {"__exit__", (PyCFunction)(void (*)(void))guarded_exit, METH_FASTCALL,
     "Calls self._exit(exception)."},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(guarded_doc,
"A context manager whose subclass has _enter() and _exit(exception), during which the running green thread is\n"
"not preempted; so weft.Cancelled is raised there in waits only.");

static PyType_Slot guarded_slots[] = {
    {Py_tp_doc, (void *)guarded_doc},
    {Py_tp_methods, guarded_methods},
    {0, NULL},
};

static PyType_Spec guarded_spec = {
    .name = "weft._core.Guarded",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = guarded_slots,
};

static PyMethodDef functions[] = {
    {"timeout", timeout, METH_O, timeout_doc},
    {"timeout_at", timeout_at, METH_O, timeout_at_doc},
    {"move_on_after", move_on_after, METH_O, move_on_after_doc},
    {NULL, NULL, 0, NULL},
};

int wf_scope_init(PyObject *module)
{
    if (wf_cancel_init() < 0 || (scope_type = (PyTypeObject *)PyType_FromSpec(&scope_spec)) == NULL
        || (guarded_type = (PyTypeObject *)PyType_FromSpec(&guarded_spec)) == NULL)
        return -1;
    if (PyModule_AddObjectRef(module, "Cancelled", wf_cancelled) < 0
        || PyModule_AddObjectRef(module, "CancelScope", (PyObject *)scope_type) < 0
        || PyModule_AddObjectRef(module, "Guarded", (PyObject *)guarded_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
