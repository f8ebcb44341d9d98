/* greenthread.c - weft.GreenThread as an object: its attributes, and what can be asked of it without waiting.
 *
 * A spawned green thread's handle is made with it, and its fiber leads to it.  For the others, which the
 * program may never ask about, a table leads from identities to the handles made so far.  An identity is
 * used again by a later thread: an entry counts only if it is of the same life.
 *
 * A name costs memory that a million threads would pay for nothing: it is made when somebody reads it.
 */
#include "greenthread_core.h"

#include "cancel.h"
#include "sched.h"

#include <structmember.h>

PyTypeObject *wf_green_type;
static PyObject *foreign_handles;   /* identity -> handle of a fiber not spawned by us */

/* {=== Handles ===} */

struct wf_green *wf_green_new(struct wf_fiber *fiber, bool spawned)
{
    struct wf_green *green = PyObject_GC_New(struct wf_green, wf_green_type);

    if (green == NULL)
        return NULL;
    green->fiber = fiber;
    green->serial = fiber->serial;
    green->fn = green->args = green->context = NULL;
    green->name = green->outcome = green->callbacks = green->weakrefs = NULL;
    green->number = 0;
    green->collectors = 0;
    green->packed = green->ended = green->failed = green->cancelled = green->collected = false;
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

/* The name that a function written in Python has, or NULL.  Borrowed. */
static PyObject *function_name(PyObject *fn)
{
    if (PyMethod_Check(fn))
        fn = PyMethod_GET_FUNCTION(fn);
    return PyFunction_Check(fn) ? ((PyFunctionObject *)fn)->func_name : NULL;
}

PyObject *wf_green_label(PyObject *fn)
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
        green = wf_green_new(fiber, false);
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

/* {=== What is known at once ===} */

PyDoc_STRVAR(done_doc, "done($self, /)\n--\n\nHas the green thread ended?  Does not park.");

static PyObject *green_done(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(!wf_green_alive(self));
}

PyDoc_STRVAR(cancel_doc,
"cancel($self, /)\n--\n\n"
"Raise weft.Cancelled in it, once: in what it waits for, or will wait for next.  True unless it is over.\n\n"
"If it has not begun it never does.  From any thread; what becomes of it join() tells.  Does not park.");

static PyObject *green_cancel(struct wf_green *self, PyObject *ignored)
{
    (void)ignored;
    if (!wf_green_alive(self))
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
    return PyBool_FromLong(wf_green_alive(self));
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
    else if (wf_green_lent.threads != NULL
             && (thread = PyDict_GetItemWithError(wf_green_lent.threads, ident)) != NULL)
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
        PyObject *label = self->ended ? Py_NewRef(self->fn) : wf_green_label(self->fn);
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
    if (!self->spawned || !wf_green_alive(self)) {
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
                                wf_green_alive(self) ? "alive" : self->cancelled ? "cancelled" : "done",
                                self->daemon ? " daemon" : "", wf_fiber_ident(self->fiber));
    Py_DECREF(name);
    return repr;
}

static PyMethodDef green_methods[] = {
    {"join", (PyCFunction)(void (*)(void))wf_green_join, METH_FASTCALL | METH_KEYWORDS, wf_green_join_doc},
    {"result", (PyCFunction)(void (*)(void))wf_green_result, METH_FASTCALL | METH_KEYWORDS, wf_green_result_doc},
    {"exception", (PyCFunction)(void (*)(void))wf_green_exception, METH_FASTCALL | METH_KEYWORDS,
     wf_green_exception_doc},
    {"done", (PyCFunction)green_done, METH_NOARGS, done_doc},
    {"is_alive", (PyCFunction)green_is_alive, METH_NOARGS, is_alive_doc},
    {"cancel", (PyCFunction)green_cancel, METH_NOARGS, cancel_doc},
    {"cancelled", (PyCFunction)green_cancelled, METH_NOARGS, cancelled_doc},
    {"add_done_callback", (PyCFunction)wf_green_add_done_callback, METH_O, wf_green_add_done_callback_doc},
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

/* {=== Who there is ===} */

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

static PyMethodDef functions[] = {
    {"current", current, METH_NOARGS, current_doc},
    {"all_threads", all_threads, METH_NOARGS, all_threads_doc},
    {"_spawned", spawned, METH_NOARGS, spawned_doc},
    {NULL, NULL, 0, NULL},
};

int wf_green_init(PyObject *module)
{
    wf_green_type = (PyTypeObject *)PyType_FromSpec(&green_spec);
    foreign_handles = PyDict_New();
    if (wf_green_type == NULL || foreign_handles == NULL || wf_green_life_init(module) < 0
        || PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "GreenThread", (PyObject *)wf_green_type);
}
