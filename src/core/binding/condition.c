/* condition.c - weft.Condition: to wait, having let go of a lock, until somebody notifies.
 *
 * The lock is weft's Lock or RLock, which are called without a detour, or anything with acquire() and release(), as
 * threading allows.  A lock that has _release_save, _acquire_restore and _is_owned is asked for these, as threading does.
 *
 * The place in the queue is taken before the lock is let go of, so no notification is missed.  A wait that ends in an
 * exception although it was notified passes the notification on.  With weft's locks wait() returns, or raises, with
 * the lock held, whatever happens: an exception that comes while the lock is being taken back waits for it.
 */
#include "condition.h"

#include "lock.h"
#include "tstate.h"

#include <structmember.h>

struct condition {
    PyObject_HEAD
    PyObject *lock;
    bool is_rlock, is_lock; /* weft's, and of no subclass */
    bool made;              /* the lock does not change any more: somebody may be waiting for it */
    struct wf_wait_queue waits;
    PyObject *weakrefs;
};

static struct wf_mutex *mutex_of(const struct condition *self)
{
    return (struct wf_mutex *)self->lock;
}

/* {=== The lock, whatever it is ===} */

static PyObject *call_lock(struct condition *self, const char *method)
{
    return PyObject_CallMethod(self->lock, method, NULL);
}

/* 0, or -1. */
static int discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* An optional method's result; NULL without an exception if the lock has none. */
static PyObject *call_if_there(struct condition *self, const char *method, PyObject *argument)
{
    PyObject *bound = PyObject_GetAttrString(self->lock, method);
    PyObject *result;

    if (bound == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Clear();
        return NULL;
    }
    result = PyObject_CallFunctionObjArgs(bound, argument, NULL);
    Py_DECREF(bound);
    return result;
}

static int truth_and_drop(PyObject *value)
{
    int truth = PyObject_IsTrue(value);

    Py_DECREF(value);
    return truth;
}

/* Of a lock that cannot say: held by anybody. */
static int is_held(struct condition *self)
{
    PyObject *got = PyObject_CallMethod(self->lock, "acquire", "O", Py_False);
    int acquired = got == NULL ? -1 : truth_and_drop(got);

    if (acquired > 0 && discard(call_lock(self, "release")) < 0)
        return -1;
    return acquired < 0 ? -1 : !acquired;
}

/* Does the caller hold it?  1, 0 or -1. */
static int is_owned(struct condition *self)
{
    PyObject *answer;

    if (self->is_rlock)
        return wf_rlock_is_owned(mutex_of(self));
    if (self->is_lock)
        return mutex_of(self)->permits.free == 0;
    answer = call_if_there(self, "_is_owned", NULL);
    if (answer == NULL)
        return PyErr_Occurred() ? -1 : is_held(self);
    return truth_and_drop(answer);
}

/* What was held of a lock that is let go of. */
struct hold {
    Py_ssize_t again; /* weft's RLock */
    PyObject *saved;  /* what _release_save returned, or NULL */
};

static int let_go(struct condition *self, struct hold *hold)
{
    *hold = (struct hold){0, NULL};
    if (self->is_rlock)
        hold->again = wf_rlock_save(mutex_of(self));
    else if (self->is_lock)
        return wf_lock_release(mutex_of(self));
    else if ((hold->saved = call_if_there(self, "_release_save", NULL)) == NULL)
        return PyErr_Occurred() ? -1 : discard(call_lock(self, "release"));
    return 0;
}

static int take_back_foreign(struct condition *self, struct hold *hold)
{
    PyObject *saved = hold->saved;
    int result;

    if (saved == NULL)
        return discard(call_lock(self, "acquire"));
    result = discard(PyObject_CallMethod(self->lock, "_acquire_restore", "(O)", saved));
    Py_DECREF(saved);
    return result;
}

/* The newest exception is the one that is raised; it knows the one before as its context. */
static void chain(PyObject **pending)
{
    PyObject *newer = wf_take_exception();

    if (*pending != NULL)
        PyException_SetContext(newer, *pending);
    *pending = newer;
}

static void take_back_own(struct condition *self, const struct hold *hold, PyObject **pending)
{
    int got;

    do {
        got = self->is_rlock ? wf_rlock_restore(mutex_of(self), hold->again)
                             : wf_lock_acquire(mutex_of(self), WF_NEVER);
        if (got < 0)
            chain(pending);
    } while (got < 0);
}

/* Takes the lock back, whether an exception is set or not.  0, or -1 if one is set now. */
static int take_back(struct condition *self, struct hold *hold)
{
    PyObject *pending = wf_take_exception();

    if (self->is_rlock || self->is_lock)
        take_back_own(self, hold, &pending);
    else if (take_back_foreign(self, hold) < 0)
        chain(&pending);
    if (pending == NULL)
        return 0;
    PyErr_SetObject((PyObject *)Py_TYPE(pending), pending);
    Py_DECREF(pending);
    return -1;
}

/* {=== Waiting and notifying ===} */

static int check_owned(struct condition *self, const char *message)
{
    int owned = is_owned(self);

    if (owned == 0)
        PyErr_SetString(PyExc_RuntimeError, message);
    return owned > 0 ? 0 : -1;
}

static void notify_some(struct condition *self, Py_ssize_t count)
{
    struct wf_place *place;

    while (count-- > 0 && (place = wf_wait_queue_first(&self->waits)) != NULL)
        wf_serve(place, WF_GIVEN);
}

/* 1: notified; 0: the deadline came first; -1. */
static int wait_until(struct condition *self, int64_t deadline_ns)
{
    struct wf_worker *worker = wf_worker_get();
    enum wf_wait_end end = WF_WAIT_BROKEN;
    struct wf_place place;
    struct wf_wait wait;
    struct hold hold;

    if (worker == NULL || deadline_ns < 0 || check_owned(self, "cannot wait on un-acquired lock") < 0)
        return -1;
    wf_wait_begin(&wait, worker, &place, 1);
    wf_place_take(&place, &self->waits);
    if (let_go(self, &hold) < 0) {
        wf_wait_leave(&wait);
        return -1;
    }
    end = wf_wait_until_served(worker, &wait, WF_PARK_NOTIFY, self, deadline_ns);
    wf_assert(end != WF_WAIT_SERVED || wait.served == WF_GIVEN, "a condition only ever notifies");
    if (take_back(self, &hold) < 0) {
        if (wait.served == WF_GIVEN)
            notify_some(self, 1);
        return -1;
    }
    return end == WF_WAIT_SERVED;
}

PyDoc_STRVAR(wait_doc,
"wait($self, /, timeout=None)\n--\n\n"
"Let go of the lock, wait until notified, at most `timeout` seconds, and take the lock again.\n\n"
"True if it was notified.  RuntimeError if the lock is not held.  Parks.");

static PyObject *condition_wait(struct condition *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"wait", {"timeout"}, 1, 0};
    PyObject *timeout;
    int notified;

    if (wf_bind(&signature, args, nargs, kwnames, &timeout) < 0)
        return NULL;
    notified = wait_until(self, wf_deadline_from(timeout));
    return notified < 0 ? NULL : PyBool_FromLong(notified);
}

PyDoc_STRVAR(wait_for_doc,
"wait_for($self, /, predicate, timeout=None)\n--\n\n"
"Wait, at most `timeout` seconds, until predicate() is true when notified; returns its last value.  Parks.");

static PyObject *condition_wait_for(struct condition *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames)
{
    static const struct wf_signature signature = {"wait_for", {"predicate", "timeout"}, 2, 1};
    PyObject *bound[2], *value;
    int64_t deadline_ns;
    int notified = 1, truth;

    if (wf_bind(&signature, args, nargs, kwnames, bound) < 0 || (deadline_ns = wf_deadline_from(bound[1])) < 0)
        return NULL;
    for (;;) {
        value = PyObject_CallNoArgs(bound[0]);
        if (value == NULL)
            return NULL;
        truth = PyObject_IsTrue(value);
        if (truth > 0 || (truth == 0 && notified == 0))
            return value;
        Py_DECREF(value);
        if (truth < 0 || (notified = wait_until(self, deadline_ns)) < 0)
            return NULL;
    }
}

PyDoc_STRVAR(notify_doc,
"notify($self, /, n=1)\n--\n\n"
"Let the first `n` who wait go on, once they have the lock.  RuntimeError if it is not held.  Does not park.");

static PyObject *condition_notify(struct condition *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"notify", {"n"}, 1, 0};
    Py_ssize_t count = 1;

    if (wf_bind_count(&signature, args, nargs, kwnames, &count) < 0)
        return NULL;
    if (check_owned(self, "cannot notify on un-acquired lock") < 0)
        return NULL;
    notify_some(self, count);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(notify_all_doc,
"notify_all($self, /)\n--\n\n"
"Let all who wait go on, one after the other, once they have the lock.  RuntimeError if it is not held.");

static PyObject *condition_notify_all(struct condition *self, PyObject *ignored)
{
    (void)ignored;
    if (check_owned(self, "cannot notify on un-acquired lock") < 0)
        return NULL;
    wf_serve_all(&self->waits, WF_GIVEN);
    Py_RETURN_NONE;
}

/* {=== The lock's own methods ===} */

static PyObject *condition_acquire(struct condition *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttrString(self->lock, "acquire"), *result;

    if (method == NULL)
        return NULL;
    result = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *condition_enter(struct condition *self, PyObject *ignored)
{
    int got;

    (void)ignored;
    if (!self->is_rlock && !self->is_lock)
        return call_lock(self, "__enter__");
    got = self->is_rlock ? wf_rlock_acquire(mutex_of(self), WF_NEVER) : wf_lock_acquire(mutex_of(self), WF_NEVER);
    return got < 0 ? NULL : Py_NewRef(Py_True);
}

static int release_own(struct condition *self)
{
    return self->is_rlock ? wf_rlock_release(mutex_of(self)) : wf_lock_release(mutex_of(self));
}

static PyObject *condition_release(struct condition *self, PyObject *ignored)
{
    (void)ignored;
    if (!self->is_rlock && !self->is_lock)
        return call_lock(self, "release");
    return release_own(self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *condition_exit(struct condition *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *method, *result;

    if (self->is_rlock || self->is_lock)
        return release_own(self) < 0 ? NULL : Py_NewRef(Py_None);
    method = PyObject_GetAttrString(self->lock, "__exit__");
    if (method == NULL)
        return NULL;
    result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    Py_DECREF(method);
    return result;
}

static PyObject *condition_is_owned(struct condition *self, PyObject *ignored)
{
    int owned = is_owned(self);

    (void)ignored;
    return owned < 0 ? NULL : PyBool_FromLong(owned);
}

static PyObject *condition_repr(struct condition *self)
{
    Py_ssize_t count = 0;

    if (wf_wait_queue_first(&self->waits) != NULL)
        for (struct wf_list *node = self->waits.places.next; node != &self->waits.places; node = node->next)
            count++;
    return PyUnicode_FromFormat("<Condition(%R, %zd)>", self->lock, count);
}

/* {=== The type ===} */

static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct condition *self = (struct condition *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self == NULL)
        return NULL;
    wf_wait_queue_init(&self->waits);
    self->lock = PyObject_CallNoArgs((PyObject *)wf_rlock_type);
    self->is_rlock = true;
    if (self->lock == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int condition_init(struct condition *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lock", NULL};
    PyObject *lock = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Condition", names, &lock))
        return -1;
    if (self->made) {
        PyErr_SetString(PyExc_RuntimeError, "a condition is initialized only once");
        return -1;
    }
    self->made = true;
    if (lock == Py_None)
        return 0;
    self->is_rlock = Py_IS_TYPE(lock, wf_rlock_type);
    self->is_lock = Py_IS_TYPE(lock, wf_lock_type);
    Py_SETREF(self->lock, Py_NewRef(lock));
    return 0;
}

static int condition_traverse(struct condition *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->lock);
    return 0;
}

static void condition_dealloc(struct condition *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Py_CLEAR(self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef condition_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))condition_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, /, *args)\n--\n\nAcquire the lock, as its own method says.  Parks."},
    {"release", (PyCFunction)condition_release, METH_NOARGS,
     "release($self, /)\n--\n\nRelease the lock, as its own method says."},
    {"__enter__", (PyCFunction)condition_enter, METH_NOARGS, "Acquire the lock.  Parks."},
    {"__exit__", (PyCFunction)(void (*)(void))condition_exit, METH_FASTCALL, "Release the lock."},
    {"_is_owned", (PyCFunction)condition_is_owned, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nDoes the caller hold the lock?  Of some locks: does anybody?"},
    {"wait", (PyCFunction)(void (*)(void))condition_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"wait_for", (PyCFunction)(void (*)(void))condition_wait_for, METH_FASTCALL | METH_KEYWORDS, wait_for_doc},
    {"notify", (PyCFunction)(void (*)(void))condition_notify, METH_FASTCALL | METH_KEYWORDS, notify_doc},
    {"notify_all", (PyCFunction)condition_notify_all, METH_NOARGS, notify_all_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef condition_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct condition, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(condition_doc,
"Condition(lock=None)\n--\n\n"
"threading.Condition, for green threads and OS threads; with a new weft.RLock unless a lock is given.");

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)condition_doc},
    {Py_tp_new, condition_new},
    {Py_tp_init, condition_init},
    {Py_tp_dealloc, condition_dealloc},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_repr, condition_repr},
    {Py_tp_methods, condition_methods},
    {Py_tp_members, condition_members},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "weft.Condition",
    .basicsize = sizeof(struct condition),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = condition_slots,
};

int wf_condition_init(PyObject *module)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpec(&condition_spec);

    return type == NULL ? -1 : PyModule_AddObjectRef(module, "Condition", (PyObject *)type);
}
