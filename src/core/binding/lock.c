/* lock.c - weft.Lock and weft.RLock; lock.h has the idea.
 *
 * The holder is noted by himself when he runs, not by who hands the lock to him: until then nobody can be waiting for it
 * in vain, and he may yet give it back without having had it.
 */
#include "lock.h"

#include "case.h"

#include <structmember.h>

PyTypeObject *wf_lock_type, *wf_rlock_type;

/* {=== Acquiring and releasing ===} */

int wf_lock_acquire(struct wf_mutex *lock, int64_t deadline_ns)
{
    int got = wf_permits_acquire(&lock->permits, WF_PARK_LOCK, lock, deadline_ns);

    if (got > 0)
        lock->holder = wf_own_ident();
    return got;
}

static void unlock(struct wf_mutex *lock)
{
    lock->holder = 0;
    wf_permits_give(&lock->permits);
}

static inline bool is_locked(const struct wf_mutex *lock)
{
    return lock->permits.free == 0;
}

int wf_lock_release(struct wf_mutex *lock)
{
    if (wf_unlikely(!is_locked(lock))) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return -1;
    }
    unlock(lock);
    return 0;
}

int wf_rlock_acquire(struct wf_mutex *lock, int64_t deadline_ns)
{
    if (!wf_rlock_is_owned(lock))
        return wf_lock_acquire(lock, deadline_ns);
    lock->again++;
    return 1;
}

static int check_owned(const struct wf_mutex *lock)
{
    if (wf_likely(wf_rlock_is_owned(lock)))
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
    return -1;
}

int wf_rlock_release(struct wf_mutex *lock)
{
    if (check_owned(lock) < 0)
        return -1;
    if (lock->again > 0)
        lock->again--;
    else
        unlock(lock);
    return 0;
}

Py_ssize_t wf_rlock_save(struct wf_mutex *lock)
{
    Py_ssize_t again = lock->again;

    lock->again = 0;
    unlock(lock);
    return again;
}

int wf_rlock_restore(struct wf_mutex *lock, Py_ssize_t again)
{
    int got = wf_lock_acquire(lock, WF_NEVER);

    if (got > 0)
        lock->again = again;
    return got;
}

/* {=== What both have ===} */

static PyObject *mutex_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct wf_mutex *self;

    /* A subclass may take what it likes in its __init__. */
    if ((type == wf_lock_type || type == wf_rlock_type)
        && (PyTuple_GET_SIZE(args) > 0 || (kwargs && PyDict_GET_SIZE(kwargs) > 0))) {
        PyErr_Format(PyExc_TypeError, "%s() takes no arguments", type->tp_name);
        return NULL;
    }
    self = (struct wf_mutex *)type->tp_alloc(type, 0);
    if (self != NULL)
        wf_permits_init(&self->permits, 1);
    return (PyObject *)self;
}

static void mutex_dealloc(struct wf_mutex *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *mutex_locked(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(is_locked(self));
}

/* After a fork: whoever held it may be gone. */
static PyObject *mutex_reinit(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    wf_permits_init(&self->permits, 1);
    self->holder = 0;
    self->again = 0;
    Py_RETURN_NONE;
}

static const struct wf_signature acquire_signature = {"acquire", {"blocking", "timeout"}, 2, 0};

static int64_t acquire_deadline(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[2];

    if (nargs == 0 && kwnames == NULL)
        return WF_NEVER;
    if (wf_bind(&acquire_signature, args, nargs, kwnames, bound) < 0)
        return -1;
    return wf_lock_deadline(bound[0], bound[1]);
}

static PyObject *truth_of(int got)
{
    return got < 0 ? NULL : PyBool_FromLong(got);
}

static PyObject *none_if(int result)
{
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMemberDef mutex_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct wf_mutex, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(acquire_doc,
"acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Acquire the lock, waiting for at most `timeout` seconds (-1: no limit); True if it was.  Parks.");

PyDoc_STRVAR(release_doc,
"release($self, /)\n--\n\n"
"Release the lock; the first who waits has it from this moment.  Does not park.");

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nIs it held by anybody?  Does not park.");

PyDoc_STRVAR(reinit_doc,
"_at_fork_reinit($self, /)\n--\n\nUnlock it, in the child of a fork.");

/* {=== Lock ===} */

static PyObject *lock_acquire(struct wf_mutex *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline_ns = acquire_deadline(args, nargs, kwnames);

    return deadline_ns < 0 ? NULL : truth_of(wf_lock_acquire(self, deadline_ns));
}

static PyObject *lock_enter(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return truth_of(wf_lock_acquire(self, WF_NEVER));
}

static PyObject *lock_release(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return none_if(wf_lock_release(self));
}

static PyObject *lock_exit(struct wf_mutex *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return none_if(wf_lock_release(self));
}

static PyObject *lock_repr(struct wf_mutex *self)
{
    return PyUnicode_FromFormat("<%s %s object at %p>", is_locked(self) ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self);
}

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", (PyCFunction)lock_release, METH_NOARGS, release_doc},
    {"locked", (PyCFunction)mutex_locked, METH_NOARGS, locked_doc},
    {"__enter__", (PyCFunction)lock_enter, METH_NOARGS, acquire_doc},
    {"__exit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL, release_doc},
    {"_at_fork_reinit", (PyCFunction)mutex_reinit, METH_NOARGS, reinit_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(lock_doc,
"Lock()\n--\n\n"
"threading.Lock, for green threads and OS threads, without a system call.\n\n"
"Whoever waits longest gets it when it is released.");

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
    {Py_tp_new, mutex_new},
    {Py_tp_dealloc, mutex_dealloc},
    {Py_tp_repr, lock_repr},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, mutex_members},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "weft.Lock",
    .basicsize = sizeof(struct wf_mutex),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lock_slots,
};

/* {=== RLock ===} */

static PyObject *rlock_acquire(struct wf_mutex *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline_ns = acquire_deadline(args, nargs, kwnames);

    return deadline_ns < 0 ? NULL : truth_of(wf_rlock_acquire(self, deadline_ns));
}

static PyObject *rlock_enter(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return truth_of(wf_rlock_acquire(self, WF_NEVER));
}

static PyObject *rlock_release(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return none_if(wf_rlock_release(self));
}

static PyObject *rlock_exit(struct wf_mutex *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return none_if(wf_rlock_release(self));
}

static PyObject *rlock_is_owned(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(wf_rlock_is_owned(self));
}

static PyObject *rlock_count(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromSsize_t(wf_rlock_is_owned(self) ? self->again + 1 : 0);
}

static PyObject *rlock_save(struct wf_mutex *self, PyObject *ignored)
{
    (void)ignored;
    return check_owned(self) < 0 ? NULL : PyLong_FromSsize_t(wf_rlock_save(self));
}

static PyObject *rlock_restore(struct wf_mutex *self, PyObject *saved)
{
    Py_ssize_t again = PyLong_AsSsize_t(saved);

    return again == -1 && PyErr_Occurred() ? NULL : none_if(wf_rlock_restore(self, again));
}

static PyObject *rlock_repr(struct wf_mutex *self)
{
    return PyUnicode_FromFormat("<%s %s object owner=%lu count=%zd at %p>", is_locked(self) ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self->holder, is_locked(self) ? self->again + 1 : 0, self);
}

static PyMethodDef rlock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))rlock_acquire, METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", (PyCFunction)rlock_release, METH_NOARGS, release_doc},
    {"locked", (PyCFunction)mutex_locked, METH_NOARGS, locked_doc},
    {"__enter__", (PyCFunction)rlock_enter, METH_NOARGS, acquire_doc},
    {"__exit__", (PyCFunction)(void (*)(void))rlock_exit, METH_FASTCALL, release_doc},
    {"_is_owned", (PyCFunction)rlock_is_owned, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nFor conditions: does the caller hold it?"},
    {"_recursion_count", (PyCFunction)rlock_count, METH_NOARGS,
     "_recursion_count($self, /)\n--\n\nHow often the caller holds it."},
    {"_release_save", (PyCFunction)rlock_save, METH_NOARGS,
     "_release_save($self, /)\n--\n\nFor conditions: release it, however often it is held."},
    {"_acquire_restore", (PyCFunction)rlock_restore, METH_O,
     "_acquire_restore($self, saved, /)\n--\n\nFor conditions: hold it as before.  Parks."},
    {"_at_fork_reinit", (PyCFunction)mutex_reinit, METH_NOARGS, reinit_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(rlock_doc,
"RLock()\n--\n\n"
"threading.RLock, for green threads and OS threads, without a system call.\n\n"
"Its owner may acquire it again, and only its owner may release it.");

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc, (void *)rlock_doc},
    {Py_tp_new, mutex_new},
    {Py_tp_dealloc, mutex_dealloc},
    {Py_tp_repr, rlock_repr},
    {Py_tp_methods, rlock_methods},
    {Py_tp_members, mutex_members},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "weft.RLock",
    .basicsize = sizeof(struct wf_mutex),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rlock_slots,
};

/* {=== As cases of select ===} */

static bool lock_ready(PyObject *self)
{
    return !is_locked((struct wf_mutex *)self);
}

static bool rlock_ready(PyObject *self)
{
    return lock_ready(self) || wf_rlock_is_owned((struct wf_mutex *)self);
}

static PyObject *lock_now(PyObject *self, PyObject *argument)
{
    (void)argument;
    return truth_of(wf_lock_acquire((struct wf_mutex *)self, WF_AT_ONCE));
}

static PyObject *rlock_now(PyObject *self, PyObject *argument)
{
    (void)argument;
    return truth_of(wf_rlock_acquire((struct wf_mutex *)self, WF_AT_ONCE));
}

static struct wf_wait_queue *lock_queue(PyObject *self)
{
    return &((struct wf_mutex *)self)->permits.waits;
}

static PyObject *lock_after(PyObject *self, PyObject *argument, struct wf_place *place)
{
    (void)argument;
    (void)place;
    ((struct wf_mutex *)self)->holder = wf_own_ident();
    Py_RETURN_TRUE;
}

static void lock_undo(PyObject *self, struct wf_place *place)
{
    (void)place;
    wf_permits_give(&((struct wf_mutex *)self)->permits);
}

static void lock_left(PyObject *self, struct wf_place *place)
{
    wf_permits_settle(&((struct wf_mutex *)self)->permits, place);
}

static const struct wf_operation acquire_operations[] = {
    {lock_acquire, false, lock_ready, lock_now, lock_queue, lock_after, lock_undo, lock_left},
    {rlock_acquire, false, rlock_ready, rlock_now, lock_queue, lock_after, lock_undo, lock_left},
};

int wf_lock_init(PyObject *module)
{
    wf_lock_type = (PyTypeObject *)PyType_FromSpec(&lock_spec);
    wf_rlock_type = (PyTypeObject *)PyType_FromSpec(&rlock_spec);
    if (wf_lock_type == NULL || wf_rlock_type == NULL
        || PyModule_AddObjectRef(module, "Lock", (PyObject *)wf_lock_type) < 0)
        return -1;
    wf_case_register(&acquire_operations[0]);
    wf_case_register(&acquire_operations[1]);
    return PyModule_AddObjectRef(module, "RLock", (PyObject *)wf_rlock_type);
}
