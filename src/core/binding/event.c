/* event.c - weft.Event: a flag, and those who wait until it is set.
 *
 * Whoever waits when it is set is served there and then: a clear() that follows at once takes nothing from him.
 */
#include "event.h"

#include "arguments.h"
#include "case.h"

#include <structmember.h>

struct event {
    PyObject_HEAD
    struct wf_wait_queue waits;
    bool is_set;
    PyObject *weakrefs;
};

static PyTypeObject *event_type;

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct event *self;

    if (type == event_type && (PyTuple_GET_SIZE(args) > 0 || (kwargs && PyDict_GET_SIZE(kwargs) > 0))) {
        PyErr_SetString(PyExc_TypeError, "Event() takes no arguments");
        return NULL;
    }
    self = (struct event *)type->tp_alloc(type, 0);
    if (self != NULL)
        wf_wait_queue_init(&self->waits);
    return (PyObject *)self;
}

static void event_dealloc(struct event *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(is_set_doc, "is_set($self, /)\n--\n\nIs the flag set?  Does not park.");

static PyObject *event_is_set(struct event *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(self->is_set);
}

PyDoc_STRVAR(set_doc, "set($self, /)\n--\n\nSet the flag; all who wait go on.  Does not park.");

static PyObject *event_set(struct event *self, PyObject *ignored)
{
    (void)ignored;
    self->is_set = true;
    wf_serve_all(&self->waits, WF_GIVEN);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\nUnset the flag.  Does not park.");

static PyObject *event_clear(struct event *self, PyObject *ignored)
{
    (void)ignored;
    self->is_set = false;
    Py_RETURN_NONE;
}

static PyObject *wait_for_it(struct event *self, int64_t deadline_ns)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_place place;
    struct wf_wait wait;
    enum wf_wait_end end;

    if (worker == NULL || deadline_ns < 0)
        return NULL;
    wf_wait_begin(&wait, worker, &place, 1);
    wf_place_take(&place, &self->waits);
    end = wf_wait_until_served(worker, &wait, WF_PARK_EVENT, self, deadline_ns);
    return end == WF_WAIT_BROKEN ? NULL : PyBool_FromLong(end == WF_WAIT_SERVED);
}

PyDoc_STRVAR(wait_doc,
"wait($self, /, timeout=None)\n--\n\n"
"Wait until the flag is set, at most `timeout` seconds; True if it was.  Parks.");

static PyObject *event_wait(struct event *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"wait", {"timeout"}, 1, 0};
    PyObject *timeout;

    if (wf_bind(&signature, args, nargs, kwnames, &timeout) < 0)
        return NULL;
    if (self->is_set)
        Py_RETURN_TRUE;
    return wait_for_it(self, wf_deadline_from(timeout));
}

static PyObject *event_repr(struct event *self)
{
    return PyUnicode_FromFormat("<%s at %p: %s>", Py_TYPE(self)->tp_name, self, self->is_set ? "set" : "unset");
}

/* {=== As a case of select ===} */

static bool case_ready(PyObject *self)
{
    return ((struct event *)self)->is_set;
}

static PyObject *case_now(PyObject *self, PyObject *argument)
{
    (void)self;
    (void)argument;
    Py_RETURN_TRUE;
}

static struct wf_wait_queue *case_queue(PyObject *self)
{
    return &((struct event *)self)->waits;
}

static PyObject *case_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)place;
    return case_now(self, argument);
}

static const struct wf_operation wait_operation = {
    .function = event_wait,
    .ready = case_ready,
    .now = case_now,
    .queue = case_queue,
    .after = case_after,
};

/* {=== The type ===} */

static PyMethodDef event_methods[] = {
    {"is_set", (PyCFunction)event_is_set, METH_NOARGS, is_set_doc},
    {"set", (PyCFunction)event_set, METH_NOARGS, set_doc},
    {"clear", (PyCFunction)event_clear, METH_NOARGS, clear_doc},
    {"wait", (PyCFunction)(void (*)(void))event_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef event_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct event, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(event_doc, "Event()\n--\n\nthreading.Event, for green threads and OS threads, without a lock inside.");

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc},
    {Py_tp_new, event_new},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_repr, event_repr},
    {Py_tp_methods, event_methods},
    {Py_tp_members, event_members},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "weft.Event",
    .basicsize = sizeof(struct event),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = event_slots,
};

int wf_event_init(PyObject *module)
{
    event_type = (PyTypeObject *)PyType_FromSpec(&event_spec);
    if (event_type == NULL)
        return -1;
    wf_case_register(&wait_operation);
    return PyModule_AddObjectRef(module, "Event", (PyObject *)event_type);
}
