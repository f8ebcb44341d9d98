/* channel.c - weft.Channel.
 *
 *     send                                         receive
 *     1 somebody waits to receive: give it to him  1 something is left here: take the oldest, and let the first who
 *     2 there is room: leave it here                 waits to send leave his
 *     3 wait; whoever receives takes it            2 somebody waits to send: take his
 *                                                  3 wait; whoever sends gives it
 *
 * A value is in one place at any time: with its sender until it is taken, then with the channel or with its receiver.  A
 * sender who was served knows that his value is gone; one who was not still has it.  A receiver who was served owns the
 * value.  If he cannot return it, because a signal handler that ran meanwhile raised, he gives it back: to the next who
 * waits, or else to the front, whether there is room or not.
 *
 *     C1  Somebody waits to receive  =>  nothing is left here, and nobody waits to send.
 *     C2  Somebody waits to send     =>  there is no room.
 *
 * A closed channel gives out what is left, and refuses everything else.  Who waits to send when it is closed keeps his
 * value and is told so, as with queue.Queue.
 */
#include "channel.h"

#include "arguments.h"
#include "case.h"
#include "queue_core.h"
#include "ring.h"

#include <structmember.h>

struct channel {
    PyObject_HEAD
    struct wf_ring left;
    Py_ssize_t maxsize;
    bool closed;
    struct wf_wait_queue receivers, senders;
    PyObject *weakrefs;
};

/* {=== Without waiting ===} */

static bool has_room(const struct channel *self)
{
    return (Py_ssize_t)self->left.len < self->maxsize;
}

/* C1 and C2; for debug builds. */
static inline void check(struct channel *self)
{
    wf_check(wf_wait_queue_first(&self->receivers) == NULL || self->left.len == 0, "what is left was not given out (C1)");
    wf_check(wf_wait_queue_first(&self->senders) == NULL || !has_room(self), "a sender waits though there is room (C2)");
    (void)self;
}

static void give(struct wf_place *receiver, PyObject *value)
{
    receiver->value = Py_NewRef(value);
    wf_serve(receiver, WF_GIVEN);
}

/* 1: sent; 0: nobody takes it now; -1 with an exception. */
static int send_now(struct channel *self, PyObject *value)
{
    struct wf_place *receiver;

    check(self);
    if (wf_unlikely(self->closed)) {
        PyErr_SetNone(wf_shut_down);
        return -1;
    }
    receiver = wf_wait_queue_first(&self->receivers);
    if (receiver != NULL) {
        give(receiver, value);
        return 1;
    }
    if (!has_room(self))
        return 0;
    if (!wf_ring_push_back(&self->left, value)) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(value);
    return 1;
}

/* The value of the first who waits to send, whose wait is over. */
static PyObject *take_from_sender(struct wf_place *sender)
{
    PyObject *value = Py_NewRef(sender->value);

    wf_serve(sender, WF_TAKEN);
    return value;
}

/* What is left is one less, so there is room. */
static void let_one_send(struct channel *self)
{
    struct wf_place *sender = wf_wait_queue_first(&self->senders);
    bool kept;

    if (sender == NULL || !has_room(self))
        return;
    kept = wf_ring_push_back(&self->left, take_from_sender(sender));
    wf_assert(kept, "no memory where a value was just taken out");
}

/* A value, or NULL without an exception. */
static PyObject *receive_now(struct channel *self)
{
    struct wf_place *sender;
    PyObject *value;

    check(self);
    if (self->left.len > 0) {
        value = wf_ring_pop_front(&self->left);
        let_one_send(self);
        return value;
    }
    sender = wf_wait_queue_first(&self->senders);
    return sender == NULL ? NULL : take_from_sender(sender);
}

/* A receiver cannot return what he was given. */
static void give_back(struct channel *self, struct wf_place *place)
{
    struct wf_place *receiver = wf_wait_queue_first(&self->receivers);
    PyObject *value = place->value;

    wf_assert(value != NULL, "a receiver was given nothing");
    place->value = NULL;
    if (receiver != NULL) {
        receiver->value = value;
        wf_serve(receiver, WF_GIVEN);
    } else if (!wf_ring_push_front(&self->left, value)) {
        PyErr_NoMemory();
        Py_DECREF(value);
    }
}

/* {=== Sending ===} */

/* 1, 0 or -1. */
static int send_wait(struct channel *self, PyObject *value, int64_t deadline_ns)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_place place;
    struct wf_wait wait;
    enum wf_wait_end end;

    if (worker == NULL)
        return -1;
    wf_wait_begin(&wait, worker, &place, 1);
    place.value = value;
    wf_place_take(&place, &self->senders);
    end = wf_wait_until_served(worker, &wait, WF_PARK_SEND, self, deadline_ns);
    if (end == WF_WAIT_SERVED && wait.served == WF_REFUSED)
        PyErr_SetNone(wf_shut_down);
    return end == WF_WAIT_EXPIRED ? 0 : end == WF_WAIT_SERVED && wait.served == WF_TAKEN ? 1 : -1;
}

static PyObject *send_until(struct channel *self, PyObject *value, int64_t deadline_ns)
{
    int sent = send_now(self, value);

    if (sent == 0 && deadline_ns != WF_AT_ONCE && wf_wait_needs_worker())
        return wf_worker_get() == NULL ? NULL : send_until(self, value, deadline_ns);
    if (sent == 0 && deadline_ns != WF_AT_ONCE)
        sent = send_wait(self, value, deadline_ns);
    if (sent == 0)
        PyErr_SetNone(wf_full);
    return sent == 1 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(send_doc,
"send($self, /, value, block=True, timeout=None)\n--\n\n"
"Send a value, waiting at most `timeout` seconds until it is received or there is room for it.  Parks.\n\n"
"queue.Full if nobody takes it in time; ShutDown if the channel is closed, also while waiting.");

static PyObject *channel_send(struct channel *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"send", {"value", "block", "timeout"}, 3, 1};
    PyObject *bound[3];
    int64_t deadline_ns;

    if (wf_likely(nargs == 1 && kwnames == NULL))
        return send_until(self, args[0], WF_NEVER);
    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0)
        return NULL;
    deadline_ns = wf_queue_deadline(bound[1], bound[2]);
    return deadline_ns < 0 ? NULL : send_until(self, bound[0], deadline_ns);
}

/* {=== Receiving ===} */

/* A value; NULL with an exception, or without one: not in time. */
static PyObject *receive_wait(struct channel *self, int64_t deadline_ns)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_place place;
    struct wf_wait wait;
    enum wf_wait_end end;

    if (worker == NULL)
        return NULL;
    wf_wait_begin(&wait, worker, &place, 1);
    wf_place_take(&place, &self->receivers);
    end = wf_wait_until_served(worker, &wait, WF_PARK_RECEIVE, self, deadline_ns);
    if (end == WF_WAIT_BROKEN && wait.served == WF_GIVEN)
        give_back(self, &place);
    if (end == WF_WAIT_SERVED && wait.served == WF_REFUSED)
        PyErr_SetNone(wf_shut_down);
    wf_assert(end != WF_WAIT_EXPIRED || place.value == NULL, "who was served says that his time was up");
    return place.value;
}

static PyObject *receive_until(struct channel *self, int64_t deadline_ns)
{
    PyObject *value = receive_now(self);

    if (value != NULL)
        return value;
    if (self->closed) {
        PyErr_SetNone(wf_shut_down);
        return NULL;
    }
    if (deadline_ns != WF_AT_ONCE && wf_wait_needs_worker())
        return wf_worker_get() == NULL ? NULL : receive_until(self, deadline_ns);
    if (deadline_ns != WF_AT_ONCE)
        value = receive_wait(self, deadline_ns);
    if (value == NULL && !PyErr_Occurred())
        PyErr_SetNone(wf_empty);
    return value;
}

PyDoc_STRVAR(recv_doc,
"recv($self, /, block=True, timeout=None)\n--\n\n"
"Receive a value, waiting at most `timeout` seconds until somebody sends one.  Parks.\n\n"
"queue.Empty if nobody does in time; ShutDown if the channel is closed and nothing is left in it.");

static PyObject *channel_recv(struct channel *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"recv", {"block", "timeout"}, 2, 0};
    PyObject *bound[2];
    int64_t deadline_ns;

    if (wf_likely(nargs == 0 && kwnames == NULL))
        return receive_until(self, WF_NEVER);
    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0)
        return NULL;
    deadline_ns = wf_queue_deadline(bound[0], bound[1]);
    return deadline_ns < 0 ? NULL : receive_until(self, deadline_ns);
}

/* Iteration: ends when the channel is closed. */
static PyObject *channel_next(struct channel *self)
{
    PyObject *value = receive_until(self, WF_NEVER);

    if (value == NULL && PyErr_ExceptionMatches(wf_shut_down))
        PyErr_Clear();
    return value;
}

/* {=== Closing and looking ===} */

PyDoc_STRVAR(close_doc,
"close($self, /)\n--\n\n"
"From now on send() raises ShutDown, and so does recv() once nothing is left; all who wait are told.\n\n"
"Iteration ends.  A second call does nothing.  Does not park.");

static PyObject *channel_close(struct channel *self, PyObject *ignored)
{
    (void)ignored;
    self->closed = true;
    wf_serve_all(&self->receivers, WF_REFUSED);
    wf_serve_all(&self->senders, WF_REFUSED);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(qsize_doc,
"qsize($self, /)\n--\n\nHow many values were sent and left here, and not received.  Does not park.");

static PyObject *channel_qsize(struct channel *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromSize_t(self->left.len);
}

static PyObject *channel_repr(struct channel *self)
{
    return PyUnicode_FromFormat("<%s at %p: %zd/%zd%s>", Py_TYPE(self)->tp_name, self, (Py_ssize_t)self->left.len,
                                self->maxsize, self->closed ? ", closed" : "");
}

/* {=== As cases of select ===} */

static bool send_ready(PyObject *self, const struct wf_wait *own)
{
    struct channel *channel = (struct channel *)self;
    return channel->closed || has_room(channel)
           || wf_wait_queue_first_but(&channel->receivers, own) != NULL;
}

static bool recv_ready(PyObject *self, const struct wf_wait *own)
{
    struct channel *channel = (struct channel *)self;
    return channel->closed || channel->left.len > 0
           || wf_wait_queue_first_but(&channel->senders, own) != NULL;
}

static PyObject *send_case_now(PyObject *self, PyObject *argument)
{
    return send_until((struct channel *)self, argument, WF_AT_ONCE);
}

static PyObject *recv_case_now(PyObject *self, PyObject *argument)
{
    (void)argument;
    return receive_until((struct channel *)self, WF_AT_ONCE);
}

static struct wf_wait_queue *send_queue(PyObject *self)
{
    return &((struct channel *)self)->senders;
}

static struct wf_wait_queue *recv_queue(PyObject *self)
{
    return &((struct channel *)self)->receivers;
}

static PyObject *send_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)self;
    (void)argument;
    if (place->wait->served == WF_TAKEN)
        Py_RETURN_NONE;
    PyErr_SetNone(wf_shut_down);
    return NULL;
}

static PyObject *recv_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)self;
    (void)argument;
    if (place->wait->served == WF_REFUSED)
        PyErr_SetNone(wf_shut_down);
    return place->value;
}

static void recv_undo(PyObject *self, struct wf_place *place)
{
    give_back((struct channel *)self, place);
}

static const struct wf_operation operations[] = {
    {channel_send, true, send_ready, send_case_now, send_queue, send_after, NULL, NULL},
    {channel_recv, false, recv_ready, recv_case_now, recv_queue, recv_after, recv_undo, NULL},
};

/* {=== The type ===} */

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", NULL};
    struct channel *self;
    Py_ssize_t maxsize = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:Channel", names, &maxsize))
        return NULL;
    if (maxsize < 0) {
        PyErr_SetString(PyExc_ValueError, "a channel's maxsize must not be negative");
        return NULL;
    }
    self = (struct channel *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->maxsize = maxsize;
    wf_wait_queue_init(&self->receivers);
    wf_wait_queue_init(&self->senders);
    return (PyObject *)self;
}

static int channel_traverse(struct channel *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return wf_ring_traverse(&self->left, visit, arg);
}

static int channel_clear(struct channel *self)
{
    wf_ring_clear(&self->left);
    return 0;
}

static void channel_dealloc(struct channel *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    channel_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef channel_methods[] = {
    {"send", (PyCFunction)(void (*)(void))channel_send, METH_FASTCALL | METH_KEYWORDS, send_doc},
    {"recv", (PyCFunction)(void (*)(void))channel_recv, METH_FASTCALL | METH_KEYWORDS, recv_doc},
    {"close", (PyCFunction)channel_close, METH_NOARGS, close_doc},
    {"qsize", (PyCFunction)channel_qsize, METH_NOARGS, qsize_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Channel[T], for annotations."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef channel_members[] = {
    {"maxsize", T_PYSSIZET, offsetof(struct channel, maxsize), READONLY,
     "How many values may be sent before one is received; 0: sender and receiver meet."},
    {"closed", T_BOOL, offsetof(struct channel, closed), READONLY, "Has close() been called?"},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct channel, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(channel_doc,
"Channel(maxsize=0)\n--\n\n"
"Values go from who sends to who receives, in order; with maxsize 0 the two meet.\n\n"
"``for value in channel:`` receives until the channel is closed.");

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc},
    {Py_tp_new, channel_new},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_repr, channel_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, channel_next},
    {Py_tp_methods, channel_methods},
    {Py_tp_members, channel_members},
    {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "weft.Channel",
    .basicsize = sizeof(struct channel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = channel_slots,
};

int wf_channel_init(PyObject *module)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpec(&channel_spec);

    if (type == NULL)
        return -1;
    wf_case_register(&operations[0]);
    wf_case_register(&operations[1]);
    return PyModule_AddObjectRef(module, "Channel", (PyObject *)type);
}
