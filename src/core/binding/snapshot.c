/* snapshot.c - all green threads and workers, as tuples for Python; snapshot.h has the idea. */
#include "snapshot.h"

#include "lock.h"
#include "offload.h"
#include "preempt.h"
#include "sched.h"
#include "tstate.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

/* {=== Where a thread was started ===} */

#define NOWHERE INT_MIN /* no offset in a code object */

/* The namespace of the module threading, whose frames say nothing of who wanted the thread.  Borrowed. */
static PyObject *threading_globals(void)
{
    static PyObject *globals;
    PyObject *module;

    if (globals == NULL) {
        module = PyImport_ImportModule("threading");
        globals = module ? Py_NewRef(PyModule_GetDict(module)) : NULL;
        Py_XDECREF(module);
    }
    return globals;
}

/* An object of another interpreter would outlive it here, and die by the wrong allocator. */
static bool in_main_interpreter(void)
{
    return PyInterpreterState_Get() == PyInterpreterState_Main();
}

void wf_snapshot_note_start(struct wf_fiber *fiber)
{
    PyFrameObject *frame;
    PyObject *skip;

    fiber->spawn_offset = NOWHERE;
    if (!in_main_interpreter())
        return;
    frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());
    skip = threading_globals();
    Py_CLEAR(fiber->spawn_code);
    while (frame != NULL) {
        PyObject *globals = PyFrame_GetGlobals(frame);
        PyFrameObject *back = PyFrame_GetBack(frame);
        bool skipped = globals == skip && back != NULL;
        Py_DECREF(globals);
        if (!skipped) {
            fiber->spawn_code = (PyObject *)PyFrame_GetCode(frame);
            fiber->spawn_offset = PyFrame_GetLasti(frame);
            Py_CLEAR(back);
        }
        Py_DECREF(frame);
        frame = back;
    }
    PyErr_Clear(); /* without threading, nothing was skipped */
}

/* (file, line), or None. */
static PyObject *spawn_place(const struct wf_fiber *fiber)
{
    PyCodeObject *code = (PyCodeObject *)fiber->spawn_code;

    if (fiber->kind == WF_ROOT || code == NULL || fiber->spawn_offset == NOWHERE || !PyCode_Check(code))
        Py_RETURN_NONE;
    return Py_BuildValue("Oi", code->co_filename, PyCode_Addr2Line(code, fiber->spawn_offset));
}

/* {=== Green threads ===} */

static unsigned long ident_of(const struct wf_fiber *fiber)
{
    return fiber->kind == WF_ROOT ? (unsigned long)fiber->worker->os_thread : wf_fiber_ident(fiber);
}

static const char *state_text(const struct wf_fiber *fiber)
{
    switch ((enum wf_state)fiber->state) {
    case WF_NEW: return "new";
    case WF_RUNNABLE: return "runnable";
    case WF_PARKED:
    case WF_AWAY: return "parked";
    default: return "running";
    }
}

static const char *kind_text(const struct wf_fiber *fiber)
{
    static const char *const texts[] = {[WF_ROOT] = "root", [WF_GREEN] = "spawned", [WF_RAW] = "threading"};
    return texts[fiber->kind];
}

static PyObject *seconds(int64_t ns)
{
    return PyFloat_FromDouble(ns < 0 ? 0.0 : (double)ns / WF_NS_PER_S);
}

intptr_t wf_snapshot_awaited(const struct wf_fiber *fiber)
{
    intptr_t awaited = fiber->awaited;

    if (awaited == 0)
        return 0;
    switch (fiber->reason) {
    case WF_PARK_JOIN: return (intptr_t)ident_of((struct wf_fiber *)awaited);
    case WF_PARK_LOCK: return (intptr_t)wf_lock_holder(awaited);
    case WF_PARK_SEMAPHORE: return (intptr_t)wf_semaphore_place((const void *)awaited);
    default: return awaited;
    }
}

/* (reason, its text, what exactly, for how long, how long it may still last), or None. */
static PyObject *park_of(const struct wf_fiber *fiber, int64_t now_ns)
{
    enum wf_reason reason = fiber->reason;
    int64_t deadline_ns = fiber->deadline_ns;

    if (fiber->state != WF_PARKED && fiber->state != WF_AWAY)
        Py_RETURN_NONE;
    return Py_BuildValue("sslNN", wf_reason_name(reason), wf_reason_text(reason), (long)wf_snapshot_awaited(fiber),
                         seconds(now_ns - fiber->parked_ns),
                         deadline_ns == WF_NEVER ? Py_NewRef(Py_None) : seconds(deadline_ns - now_ns));
}

static PyObject *fiber_tuple(struct wf_fiber *fiber, int64_t now_ns)
{
    PyObject *green = fiber->kind == WF_GREEN ? (PyObject *)fiber->green : NULL;

    return Py_BuildValue("KksOsNNi", (unsigned long long)fiber->serial, ident_of(fiber), kind_text(fiber),
                         green ? green : Py_None, state_text(fiber), park_of(fiber, now_ns), spawn_place(fiber),
                         (int)fiber->worker->tid);
}

struct fiber_list {
    PyObject *list;
    int64_t now_ns;
};

static int append_fiber(struct wf_fiber *fiber, void *arg)
{
    struct fiber_list *list = arg;
    PyObject *tuple;
    int result;

    if (fiber->state == WF_DONE || fiber->state == WF_FREE
        || (fiber->kind == WF_ROOT && fiber->worker->root != fiber))
        return 0;
    tuple = fiber_tuple(fiber, list->now_ns);
    result = tuple ? PyList_Append(list->list, tuple) : -1;
    Py_XDECREF(tuple);
    return result;
}

/* The oldest first: memory is used again, and so in no order. */
static PyObject *fiber_list(void)
{
    struct fiber_list list = {PyList_New(0), wf_now_ns()};

    if (list.list != NULL && (wf_fiber_each(append_fiber, &list) < 0 || PyList_Sort(list.list) < 0))
        Py_CLEAR(list.list);
    return list.list;
}

/* {=== OS threads ===} */

/* Copied first: the registry's lock is held meanwhile, and making a tuple may run anything. */
#define MOST_WORKERS 256

struct worker_copy {
    unsigned long ident;
    int tid;
    size_t live, run_queue, timers, descriptors;
    uint64_t switches;
    bool asleep;
};

struct worker_copies {
    struct worker_copy copies[MOST_WORKERS];
    size_t count;
};

static void copy_worker(struct wf_worker *worker, void *arg)
{
    struct worker_copies *all = arg;

    if (all->count == MOST_WORKERS)
        return;
    all->copies[all->count++] = (struct worker_copy){
        .ident = (unsigned long)worker->os_thread,
        .tid = (int)worker->tid,
        .live = worker->live,
        .run_queue = worker->runq.len,
        .timers = worker->timers.len - worker->timers.forgotten,
        .descriptors = worker->reactor.waiting,
        .switches = worker->switches,
        .asleep = atomic_load(&worker->inbox.polling),
    };
}

static PyObject *worker_list(void)
{
    struct worker_copies *all = PyMem_Calloc(1, sizeof *all);
    PyObject *list = all ? PyList_New(0) : PyErr_NoMemory();

    if (list != NULL)
        wf_worker_each(copy_worker, all);
    for (size_t i = 0; list != NULL && i < all->count; i++) {
        const struct worker_copy *copy = &all->copies[i];
        PyObject *tuple = Py_BuildValue("ikkkkkKO", copy->tid, copy->ident, copy->live, copy->run_queue,
                                        copy->timers, copy->descriptors, (unsigned long long)copy->switches,
                                        copy->asleep ? Py_True : Py_False);
        if (tuple == NULL || PyList_Append(list, tuple) < 0)
            Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    PyMem_Free(all);
    return list;
}

PyDoc_STRVAR(snapshot_doc,
"_snapshot()\n--\n\n"
"What there is: green threads, workers, the offload pool, the watchdog.  Does not park.");

static PyObject *snapshot(PyObject *module, PyObject *ignored)
{
    struct wf_offload_state offload = wf_offload_state();

    (void)module;
    (void)ignored;
    return Py_BuildValue("NN(kkk)O", fiber_list(), worker_list(), offload.threads.alive, offload.idle, offload.queued,
                         wf_preempt_running() ? Py_True : Py_False);
}

PyDoc_STRVAR(has_worker_doc,
"_has_worker()\n--\n\n"
"Does the calling OS thread run green threads?  Asking does not make it one that does.");

static PyObject *has_worker(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyBool_FromLong(wf_this_worker != NULL);
}

/* {=== Descriptors ===} */

static PyObject *address_text(const struct sockaddr_storage *address, socklen_t size)
{
    const struct sockaddr_un *local = (const void *)address;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (address->ss_family == AF_UNIX)
        return PyUnicode_DecodeFSDefault(size > sizeof(sa_family_t) && local->sun_path[0] ? local->sun_path : "");
    if (getnameinfo((const void *)address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return PyUnicode_FromString("");
    return PyUnicode_FromFormat(address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

PyDoc_STRVAR(socket_doc,
"_socket_addresses(fd, /)\n--\n\n"
"A socket's own address and its peer's, as text; \"\" for one it has not; None if it is no socket.");

static PyObject *socket_addresses(PyObject *module, PyObject *number)
{
    struct sockaddr_storage own, peer;
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    int fd = (int)PyLong_AsLong(number);

    (void)module;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (getsockname(fd, (void *)&own, &own_size) < 0)
        Py_RETURN_NONE;
    if (getpeername(fd, (void *)&peer, &peer_size) < 0)
        return Py_BuildValue("Ns", address_text(&own, own_size), "");
    return Py_BuildValue("NN", address_text(&own, own_size), address_text(&peer, peer_size));
}

/* {=== Frames and locks ===} */

PyDoc_STRVAR(frame_slot_doc,
"_frame_slot(frame, n, /)\n--\n\n"
"The n-th slot of the frame of a thread that does not run now; None if it is empty or unknown.\n\n"
"The slot must be live: a variable's, or one below the top of the value stack.");

static PyObject *frame_slot(PyObject *module, PyObject *args)
{
    PyFrameObject *frame;
    PyObject *item;
    int n;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!i", &PyFrame_Type, &frame, &n))
        return NULL;
    item = wf_frame_slot(frame, n);
    return Py_NewRef(item ? item : Py_None);
}

PyDoc_STRVAR(lock_address_doc,
"_lock_address(lock, /)\n--\n\n"
"Where a _thread.lock or _thread.RLock, and nothing else, is waited for: what a park for it tells.");

static PyObject *lock_address(PyObject *module, PyObject *lock)
{
    (void)module;
    return PyLong_FromVoidPtr((void *)wf_lock_place(lock));
}

static PyMethodDef functions[] = {
    {"_snapshot", snapshot, METH_NOARGS, snapshot_doc},
    {"_has_worker", has_worker, METH_NOARGS, has_worker_doc},
    {"_socket_addresses", socket_addresses, METH_O, socket_doc},
    {"_frame_slot", frame_slot, METH_VARARGS, frame_slot_doc},
    {"_lock_address", lock_address, METH_O, lock_address_doc},
    {NULL, NULL, 0, NULL},
};

int wf_snapshot_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
