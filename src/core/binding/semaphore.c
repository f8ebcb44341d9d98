/* semaphore.c - weft.Semaphore and weft.BoundedSemaphore: permits, with the methods of threading's. */
#include "event.h"

#include "case.h"
#include "permits.h"

#include <structmember.h>

struct semaphore {
    PyObject_HEAD
    struct wf_permits permits;
    Py_ssize_t most; /* bounded: so many permits there are; otherwise 0 or more, and nobody asks */
    PyObject *weakrefs;
};

static PyTypeObject *semaphore_type, *bounded_type;

static bool is_bounded(struct semaphore *self)
{
    return PyObject_TypeCheck(self, bounded_type);
}

/* {=== Making ===} */

static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct semaphore *self = (struct semaphore *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self != NULL) {
        wf_permits_init(&self->permits, 1);
        self->most = 1;
    }
    return (PyObject *)self;
}

static int semaphore_init(struct semaphore *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", NULL};
    Py_ssize_t value = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:Semaphore", names, &value))
        return -1;
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "semaphore initial value must be >= 0");
        return -1;
    }
    self->permits.free = self->most = value;
    return 0;
}

static void semaphore_dealloc(struct semaphore *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* {=== Acquiring and releasing ===} */

static PyObject *acquire_until(struct semaphore *self, int64_t deadline_ns)
{
    int got = wf_permits_acquire(&self->permits, WF_PARK_COUNT, self, deadline_ns);

    return got < 0 ? NULL : PyBool_FromLong(got);
}

PyDoc_STRVAR(acquire_doc,
"acquire($self, /, blocking=True, timeout=None)\n--\n\n"
"Take one from the counter, waiting for at most `timeout` seconds until it is not zero; True if it was.  Parks.");

static PyObject *semaphore_acquire(struct semaphore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"acquire", {"blocking", "timeout"}, 2, 0};
    PyObject *bound[2];
    int64_t deadline_ns;

    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0)
        return NULL;
    deadline_ns = wf_semaphore_deadline(bound[0], bound[1]);
    return deadline_ns < 0 ? NULL : acquire_until(self, deadline_ns);
}

static PyObject *semaphore_enter(struct semaphore *self, PyObject *ignored)
{
    (void)ignored;
    return acquire_until(self, WF_NEVER);
}

static PyObject *release_some(struct semaphore *self, Py_ssize_t count)
{
    if (count < 1) {
        PyErr_SetString(PyExc_ValueError, "n must be one or more");
        return NULL;
    }
    if (is_bounded(self) && count > self->most - self->permits.free) {
        PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
        return NULL;
    }
    while (count-- > 0)
        wf_permits_give(&self->permits);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(release_doc,
"release($self, /, n=1)\n--\n\n"
"Add `n` to the counter; so many of those who wait go on.  Does not park.\n\n"
"ValueError if a BoundedSemaphore would have more than at first.");

static PyObject *semaphore_release(struct semaphore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"release", {"n"}, 1, 0};
    Py_ssize_t count = 1;

    return wf_bind_count(&signature, args, nargs, kwnames, &count) < 0 ? NULL : release_some(self, count);
}

static PyObject *semaphore_exit(struct semaphore *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return release_some(self, 1);
}

static PyObject *semaphore_repr(struct semaphore *self)
{
    const char *name = Py_TYPE(self)->tp_name;

    if (is_bounded(self))
        return PyUnicode_FromFormat("<%s at %p: value=%zd/%zd>", name, self, self->permits.free, self->most);
    return PyUnicode_FromFormat("<%s at %p: value=%zd>", name, self, self->permits.free);
}

/* {=== As a case of select ===} */

static bool case_ready(PyObject *self, const struct wf_wait *own)
{
    (void)own;
    return ((struct semaphore *)self)->permits.free > 0;
}

static PyObject *case_now(PyObject *self, PyObject *argument)
{
    (void)argument;
    return acquire_until((struct semaphore *)self, WF_AT_ONCE);
}

static struct wf_wait_queue *case_queue(PyObject *self)
{
    return &((struct semaphore *)self)->permits.waits;
}

static PyObject *case_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)self;
    (void)argument;
    (void)place;
    Py_RETURN_TRUE;
}

static void case_undo(PyObject *self, struct wf_place *place)
{
    (void)place;
    wf_permits_give(&((struct semaphore *)self)->permits);
}

static void case_left(PyObject *self, struct wf_place *place)
{
    wf_permits_settle(&((struct semaphore *)self)->permits, place);
}

static const struct wf_operation acquire_operation = {
    .function = semaphore_acquire,
    .ready = case_ready,
    .now = case_now,
    .queue = case_queue,
    .after = case_after,
    .undo = case_undo,
    .left = case_left,
};

/* {=== The types ===} */

static PyMethodDef semaphore_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))semaphore_acquire, METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", (PyCFunction)(void (*)(void))semaphore_release, METH_FASTCALL | METH_KEYWORDS, release_doc},
    {"__enter__", (PyCFunction)semaphore_enter, METH_NOARGS, acquire_doc},
    {"__exit__", (PyCFunction)(void (*)(void))semaphore_exit, METH_FASTCALL, release_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef semaphore_members[] = {
    {"_value", T_PYSSIZET, offsetof(struct semaphore, permits.free), READONLY, "The counter."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct semaphore, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(semaphore_doc,
"Semaphore(value=1)\n--\n\n"
"threading.Semaphore, for green threads and OS threads, without a lock inside.");

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)semaphore_doc},
    {Py_tp_new, semaphore_new},
    {Py_tp_init, semaphore_init},
    {Py_tp_dealloc, semaphore_dealloc},
    {Py_tp_repr, semaphore_repr},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_members, semaphore_members},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "weft.Semaphore",
    .basicsize = sizeof(struct semaphore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = semaphore_slots,
};

PyDoc_STRVAR(bounded_doc,
"BoundedSemaphore(value=1)\n--\n\n"
"threading.BoundedSemaphore: a Semaphore whose counter never exceeds what it was at first.");

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, (void *)bounded_doc},
    {Py_tp_dealloc, semaphore_dealloc},
    {0, NULL},
};

static PyType_Spec bounded_spec = {
    .name = "weft.BoundedSemaphore",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bounded_slots,
};

int wf_semaphore_init(PyObject *module)
{
    semaphore_type = (PyTypeObject *)PyType_FromSpec(&semaphore_spec);
    if (semaphore_type == NULL)
        return -1;
    bounded_type = (PyTypeObject *)PyType_FromSpecWithBases(&bounded_spec, (PyObject *)semaphore_type);
    if (bounded_type == NULL || PyModule_AddObjectRef(module, "Semaphore", (PyObject *)semaphore_type) < 0)
        return -1;
    wf_case_register(&acquire_operation);
    return PyModule_AddObjectRef(module, "BoundedSemaphore", (PyObject *)bounded_type);
}
