/* queue.c - weft.Queue and its kin.
 *
 * What they do stands in queue_core.h; here is how Python sees it.
 */
#include "queue.h"

#include "case.h"
#include "queue_core.h"

#include <structmember.h>

static PyTypeObject *queue_type, *lifo_type, *priority_type, *simple_type;

/* {=== put ===} */

PyDoc_STRVAR(put_doc,
"put($self, /, item, block=True, timeout=None)\n--\n\n"
"Put an item in, waiting for room at most `timeout` seconds.  Full if there is none in time.  Parks.\n\n"
"ShutDown if the queue has been, also while waiting.");

static PyObject *queue_put(struct wf_queue *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"put", {"item", "block", "timeout"}, 3, 1};
    PyObject *bound[3];
    int64_t deadline_ns;

    if (wf_likely(nargs == 1 && kwnames == NULL))
        return wf_queue_put(self, args[0], WF_NEVER);
    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0)
        return NULL;
    deadline_ns = wf_queue_deadline(bound[1], bound[2]);
    return deadline_ns < 0 ? NULL : wf_queue_put(self, bound[0], deadline_ns);
}

PyDoc_STRVAR(put_nowait_doc,
"put_nowait($self, item, /)\n--\n\nPut an item in; Full if there is no room now.");

static PyObject *queue_put_nowait(struct wf_queue *self, PyObject *item)
{
    return wf_queue_put(self, item, WF_AT_ONCE);
}

/* {=== get ===} */

PyDoc_STRVAR(get_doc,
"get($self, /, block=True, timeout=None)\n--\n\n"
"Take an item out, waiting for one at most `timeout` seconds.  Empty if there is none in time.  Parks.\n\n"
"ShutDown if the queue has been and is empty, also while waiting.");

static PyObject *queue_get(struct wf_queue *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"get", {"block", "timeout"}, 2, 0};
    PyObject *bound[2];
    int64_t deadline_ns;

    if (wf_likely(nargs == 0 && kwnames == NULL))
        return wf_queue_get(self, WF_NEVER);
    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0)
        return NULL;
    deadline_ns = wf_queue_deadline(bound[0], bound[1]);
    return deadline_ns < 0 ? NULL : wf_queue_get(self, deadline_ns);
}

PyDoc_STRVAR(get_nowait_doc,
"get_nowait($self, /)\n--\n\nTake an item out; Empty if there is none now.");

static PyObject *queue_get_nowait(struct wf_queue *self, PyObject *ignored)
{
    (void)ignored;
    return wf_queue_get(self, WF_AT_ONCE);
}

/* {=== Tasks ===} */

PyDoc_STRVAR(task_done_doc,
"task_done($self, /)\n--\n\n"
"Say that an item taken out is worked off.  ValueError if that is said too often.  Does not park.");

static PyObject *queue_task_done(struct wf_queue *self, PyObject *ignored)
{
    (void)ignored;
    if (self->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    wf_queue_tasks_done(self, 1);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(join_doc,
"join($self, /)\n--\n\nWait until every item that was put in is worked off: see task_done.  Parks.");

static PyObject *queue_join(struct wf_queue *self, PyObject *ignored)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_place place;
    struct wf_wait wait;

    (void)ignored;
    if (worker == NULL)
        return NULL;
    while (self->unfinished > 0) {
        wf_wait_begin(&wait, worker, &place, 1);
        wf_place_take(&place, &self->joiners);
        if (wf_wait_until_served(worker, &wait, WF_PARK_TASKS, self, WF_NEVER) == WF_WAIT_BROKEN)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* {=== Shutting down ===} */

PyDoc_STRVAR(shutdown_doc,
"shutdown($self, /, immediate=False)\n--\n\n"
"From now on put() raises ShutDown, and so does get() once the queue is empty; all who wait are told.\n\n"
"`immediate` drops the items, as if each had been worked off.  On every version what it is since 3.13.");

static PyObject *queue_shutdown(struct wf_queue *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"shutdown", {"immediate"}, 1, 0};
    PyObject *immediate;
    int drop;

    if (wf_bind(&signature, args, nargs, kwnames, &immediate) < 0)
        return NULL;
    drop = immediate == NULL ? 0 : PyObject_IsTrue(immediate);
    if (drop < 0)
        return NULL;
    if (wf_queue_shutdown(self, drop) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* {=== Looking ===} */

PyDoc_STRVAR(qsize_doc,
"qsize($self, /)\n--\n\nHow many items there are that no waiting get() has been promised.  Does not park.");

static PyObject *queue_qsize(struct wf_queue *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromSsize_t(self->items.free);
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWould get_nowait() raise Empty?  Does not park.");

static PyObject *queue_empty(struct wf_queue *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(self->items.free == 0);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\nWould put_nowait() raise Full?  Does not park.");

static PyObject *queue_full(struct wf_queue *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(self->room.free <= 0);
}

/* {=== As cases of select ===} */

static bool get_ready(PyObject *self)
{
    const struct wf_queue *queue = (struct wf_queue *)self;
    return queue->items.free > 0 || queue->is_shutdown;
}

static bool put_ready(PyObject *self)
{
    const struct wf_queue *queue = (struct wf_queue *)self;
    return queue->room.free > 0 || queue->is_shutdown || wf_queue_next_getter((struct wf_queue *)self) != NULL;
}

static PyObject *get_now(PyObject *self, PyObject *argument)
{
    (void)argument;
    return wf_queue_get((struct wf_queue *)self, WF_AT_ONCE);
}

static PyObject *put_now(PyObject *self, PyObject *argument)
{
    return wf_queue_put((struct wf_queue *)self, argument, WF_AT_ONCE);
}

static struct wf_wait_queue *get_queue(PyObject *self)
{
    return &((struct wf_queue *)self)->items.waits;
}

static struct wf_wait_queue *put_queue(PyObject *self)
{
    return &((struct wf_queue *)self)->room.waits;
}

/* What a place was served with, as wf_permits_wait tells it. */
static int got_by(const struct wf_place *place)
{
    switch (place->wait->served) {
    case WF_GIVEN: return 1;
    case WF_TAKEN: return WF_PERMIT_TAKEN;
    default: return WF_PERMIT_REFUSED;
    }
}

static PyObject *get_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)argument;
    return wf_queue_get_after((struct wf_queue *)self, place->value, got_by(place));
}

static PyObject *put_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    return wf_queue_put_after((struct wf_queue *)self, argument, got_by(place));
}

static void get_undo(PyObject *self, struct wf_place *place)
{
    struct wf_queue *queue = (struct wf_queue *)self;

    if (place->value != NULL)
        wf_queue_give_back(queue, place->value);
    else
        wf_permits_give(&queue->items);
}

static void put_undo(PyObject *self, struct wf_place *place)
{
    (void)place;
    wf_permits_give(&((struct wf_queue *)self)->room);
}

static void get_left(PyObject *self, struct wf_place *place)
{
    wf_permits_settle(&((struct wf_queue *)self)->items, place);
}

static void put_left(PyObject *self, struct wf_place *place)
{
    wf_permits_settle(&((struct wf_queue *)self)->room, place);
}

static const struct wf_operation operations[] = {
    {queue_get, false, get_ready, get_now, get_queue, get_after, get_undo, get_left},
    {queue_put, true, put_ready, put_now, put_queue, put_after, put_undo, put_left},
};

/* {=== The types ===} */

static enum wf_order order_of(PyTypeObject *type)
{
    if (PyType_IsSubtype(type, lifo_type))
        return WF_LIFO;
    return PyType_IsSubtype(type, priority_type) ? WF_PRIORITY : WF_FIFO;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct wf_queue *self = (struct wf_queue *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self == NULL)
        return NULL;
    if (wf_queue_init_empty(self, order_of(type)) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int queue_init(struct wf_queue *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", NULL};
    Py_ssize_t maxsize = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:Queue", names, &maxsize))
        return -1;
    wf_queue_resize(self, maxsize);
    return 0;
}

static PyObject *queue_get_maxsize(struct wf_queue *self, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(self->maxsize);
}

static int queue_set_maxsize(struct wf_queue *self, PyObject *value, void *closure)
{
    Py_ssize_t maxsize;

    (void)closure;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a queue's maxsize can't be deleted");
        return -1;
    }
    maxsize = PyNumber_AsSsize_t(value, NULL);
    if (maxsize == -1 && PyErr_Occurred())
        return -1;
    wf_queue_resize(self, maxsize);
    return 0;
}

static int simple_init(struct wf_queue *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};

    (void)self;
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":SimpleQueue", names) ? 0 : -1;
}

static int queue_traverse(struct wf_queue *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return wf_store_traverse(&self->store, visit, arg);
}

/* Somebody may still call it: an empty queue must be a whole one. */
static int queue_clear(struct wf_queue *self)
{
    self->items.free = 0;
    wf_store_clear(&self->store);
    return 0;
}

static void queue_dealloc(struct wf_queue *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    wf_store_term(&self->store);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(init_subclass_doc,
"Refuses a subclass that would replace the store, as one of queue.Queue may: it would not be asked.");

static PyObject *queue_init_subclass(PyObject *cls, PyObject *args, PyObject *kwargs)
{
    static const char *const hooks[] = {"_init", "_qsize", "_put", "_get"};

    if (PyTuple_GET_SIZE(args) > 0 || (kwargs && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "__init_subclass__() takes no arguments");
        return NULL;
    }
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++)
        if (PyObject_HasAttrString(cls, hooks[i])) {
            PyErr_Format(PyExc_TypeError, "weft's queues do not call %s(): subclass queue.Queue instead", hooks[i]);
            return NULL;
        }
    Py_RETURN_NONE;
}

#define PUT_AND_GET \
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_FASTCALL | METH_KEYWORDS, put_doc}, \
    {"get", (PyCFunction)(void (*)(void))queue_get, METH_FASTCALL | METH_KEYWORDS, get_doc}, \
    {"put_nowait", (PyCFunction)queue_put_nowait, METH_O, put_nowait_doc}, \
    {"get_nowait", (PyCFunction)queue_get_nowait, METH_NOARGS, get_nowait_doc}, \
    {"qsize", (PyCFunction)queue_qsize, METH_NOARGS, qsize_doc}, \
    {"empty", (PyCFunction)queue_empty, METH_NOARGS, empty_doc}, \
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Queue[T], for annotations."}

static PyMethodDef queue_methods[] = {
    PUT_AND_GET,
    {"full", (PyCFunction)queue_full, METH_NOARGS, full_doc},
    {"task_done", (PyCFunction)queue_task_done, METH_NOARGS, task_done_doc},
    {"join", (PyCFunction)queue_join, METH_NOARGS, join_doc},
    {"shutdown", (PyCFunction)(void (*)(void))queue_shutdown, METH_FASTCALL | METH_KEYWORDS, shutdown_doc},
    {"__init_subclass__", (PyCFunction)(void (*)(void))queue_init_subclass, METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     init_subclass_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef simple_methods[] = {PUT_AND_GET, {NULL, NULL, 0, NULL}};

static PyMemberDef queue_members[] = {
    {"unfinished_tasks", T_PYSSIZET, offsetof(struct wf_queue, unfinished), READONLY,
     "How many items were put in and are not worked off: see task_done."},
    {"is_shutdown", T_BOOL, offsetof(struct wf_queue, is_shutdown), READONLY, "Has shutdown() been called?"},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct wf_queue, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"maxsize", (getter)queue_get_maxsize, (setter)queue_set_maxsize,
     "How many items there is room for; 0: any number.  Settable.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(queue_doc,
"Queue(maxsize=0)\n--\n\nqueue.Queue, for green threads and OS threads, without a lock inside.");
PyDoc_STRVAR(lifo_doc, "LifoQueue(maxsize=0)\n--\n\nA Queue that gives out first what was put in last.");
PyDoc_STRVAR(priority_doc, "PriorityQueue(maxsize=0)\n--\n\nA Queue that gives out the smallest item first.");
PyDoc_STRVAR(simple_doc,
"SimpleQueue()\n--\n\nqueue.SimpleQueue: a queue without limit and without tasks; put() may be called anywhere.");

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},
    {Py_tp_new, queue_new},
    {Py_tp_init, queue_init},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_tp_members, queue_members},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

#define SAME_MEMORY {Py_tp_dealloc, queue_dealloc}, {Py_tp_traverse, queue_traverse}, {Py_tp_clear, queue_clear}

static PyType_Slot lifo_slots[] = {{Py_tp_doc, (void *)lifo_doc}, SAME_MEMORY, {0, NULL}};
static PyType_Slot priority_slots[] = {{Py_tp_doc, (void *)priority_doc}, SAME_MEMORY, {0, NULL}};

static PyMemberDef simple_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct wf_queue, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot simple_slots[] = {
    {Py_tp_doc, (void *)simple_doc},
    {Py_tp_new, queue_new},
    {Py_tp_init, simple_init},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, simple_methods},
    {Py_tp_members, simple_members},
    {0, NULL},
};

#define QUEUE_FLAGS \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec queue_spec = {"weft.Queue", sizeof(struct wf_queue), 0, QUEUE_FLAGS, queue_slots};
static PyType_Spec lifo_spec = {"weft.LifoQueue", 0, 0, QUEUE_FLAGS, lifo_slots};
static PyType_Spec priority_spec = {"weft.PriorityQueue", 0, 0, QUEUE_FLAGS, priority_slots};
static PyType_Spec simple_spec = {"weft.SimpleQueue", sizeof(struct wf_queue), 0, QUEUE_FLAGS, simple_slots};

/* {=== What the standard library calls things ===} */

static PyObject *from_queue(const char *name)
{
    PyObject *imported = PyImport_ImportModule("queue");
    PyObject *attribute = imported ? PyObject_GetAttrString(imported, name) : NULL;

    Py_XDECREF(imported);
    return attribute;
}

PyDoc_STRVAR(shut_down_doc, "Raised by operations on a queue that was shut down, or a channel that was closed.");

static PyObject *shut_down_exception(void)
{
    PyObject *exception = from_queue("ShutDown"); /* since 3.13 */

    if (exception != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return exception;
    PyErr_Clear();
    return PyErr_NewExceptionWithDoc("weft.ShutDown", shut_down_doc, NULL, NULL);
}

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpecWithBases(spec, (PyObject *)base);

    if (type != NULL && PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}

int wf_queue_init(PyObject *module)
{
    if ((wf_empty = from_queue("Empty")) == NULL || (wf_full = from_queue("Full")) == NULL
        || (wf_shut_down = shut_down_exception()) == NULL
        || wf_store_learn() < 0
        || (queue_type = add_type(module, &queue_spec, NULL)) == NULL
        || (lifo_type = add_type(module, &lifo_spec, queue_type)) == NULL
        || (priority_type = add_type(module, &priority_spec, queue_type)) == NULL
        || (simple_type = add_type(module, &simple_spec, NULL)) == NULL)
        return -1;
    wf_case_register(&operations[0]);
    wf_case_register(&operations[1]);
    return PyModule_AddObjectRef(module, "ShutDown", wf_shut_down);
}
