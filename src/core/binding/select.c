/* select.c - weft.select: waits for several operations, and does one.
 *
 *     1  Which cases are ready?  One of them is chosen by lot, so that none starves, and done.
 *     2  None: take a place in the queue of each, tell the reactor of each descriptor, and park, once.
 *     3  Served: the other places are gone already; finish that case.
 *     4  Otherwise look again: a descriptor tells only that something happened.
 *
 * A case of weft's own is an operation of case.h: it is done before we return, or not at all.  The others wait for a
 * descriptor and then make a call, `(sock.recv, 100)`, which Python has told us of (_select.py): should somebody else have
 * been faster, the call parks.
 *
 * Nothing of Python runs between seeing that a case of ours is ready and doing it, nor between being served and leaving.
 */
#include "select.h"

#include "arguments.h"
#include "case.h"

#include <errno.h>
#include <poll.h>

#define MOST_OPERATIONS 16
#define FEW 6 /* so many cases need no memory but the stack's */

struct choice {
    const struct wf_operation *operation; /* NULL: a descriptor's */
    PyObject *callable, *self, *argument; /* borrowed */
    PyObject *arguments;                  /* a descriptor's: a tuple of ours, or NULL */
    int fd;
    bool writes;
    bool unwaitable;                      /* a regular file: always ready */
    struct wf_io_waiter io;
};

struct selection {
    struct wf_worker *worker;
    struct choice *choices;
    struct wf_place *places;
    Py_ssize_t count;
    bool has_descriptors;
    struct wf_wait wait;
};

static const struct wf_operation *operations[MOST_OPERATIONS];
static size_t operation_count;
static PyObject *find_descriptor; /* callable(callable, arguments): (descriptor, whether it is written to) */

void wf_case_register(const struct wf_operation *operation)
{
    wf_assert(operation_count < MOST_OPERATIONS, "too many operations for select");
    operations[operation_count++] = operation;
}

/* Is it the turn of the n-th (from 1) of those met so far?  Asked of each in turn, it chooses among all evenly.  Under a
 * seed the lots are the seed's. */
static bool drawn(struct wf_worker *worker, size_t n)
{
    static struct wf_seed ours;

    return wf_seed_choose(worker->seed.on ? &worker->seed : &ours, n) == 0;
}

/* {=== Reading the cases ===} */

static const struct wf_operation *operation_of(PyObject *callable)
{
    void *function;

    if (!PyCFunction_Check(callable) || PyCFunction_GET_SELF(callable) == NULL)
        return NULL;
    function = (void *)PyCFunction_GET_FUNCTION(callable);
    for (size_t i = 0; i < operation_count; i++)
        if (operations[i]->function == function)
            return operations[i];
    return NULL;
}

static int read_descriptor(struct choice *choice)
{
    PyObject *found;
    int writes = 0, read;

    if (choice->arguments == NULL && (choice->arguments = PyTuple_New(0)) == NULL)
        return -1;
    found = PyObject_CallFunctionObjArgs(find_descriptor, choice->callable, choice->arguments, NULL);
    if (found == NULL)
        return -1;
    read = PyArg_ParseTuple(found, "ip", &choice->fd, &writes);
    choice->writes = writes;
    Py_DECREF(found);
    return read ? 0 : -1;
}

/* A callable, or a tuple of it and its arguments. */
static int read_case(struct choice *choice, PyObject *item)
{
    Py_ssize_t given = PyTuple_Check(item) ? PyTuple_GET_SIZE(item) - 1 : 0;

    *choice = (struct choice){.callable = item, .fd = -1};
    if (given < 0) {
        PyErr_SetString(PyExc_TypeError, "an empty tuple is no case of select()");
        return -1;
    }
    if (PyTuple_Check(item))
        choice->callable = PyTuple_GET_ITEM(item, 0);
    choice->operation = operation_of(choice->callable);
    if (choice->operation == NULL) {
        if (given > 0 && (choice->arguments = PyTuple_GetSlice(item, 1, given + 1)) == NULL)
            return -1;
        return read_descriptor(choice);
    }
    choice->self = PyCFunction_GET_SELF(choice->callable);
    if (given != choice->operation->has_argument) {
        PyErr_Format(PyExc_TypeError, "%R in select() takes %s", choice->callable,
                     choice->operation->has_argument ? "one argument: (method, value)" : "no argument");
        return -1;
    }
    choice->argument = given > 0 ? PyTuple_GET_ITEM(item, 1) : NULL;
    return 0;
}

/* {=== What is ready? ===} */

/* Asks the kernel: 1, 0 or -1 with OSError. */
static int descriptor_is_ready(struct choice *choice)
{
    struct pollfd pollfd = {.fd = choice->fd, .events = choice->writes ? POLLOUT : POLLIN};
    int count;

    if (choice->unwaitable || choice->fd < 0)
        return 1; /* a closed socket: the call will say so */
    do
        count = poll(&pollfd, 1, 0);
    while (count < 0 && errno == EINTR);
    if (count >= 0)
        return count > 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int is_ready(struct choice *choice, const struct wf_wait *own)
{
    return choice->operation ? choice->operation->ready(choice->self, own) : descriptor_is_ready(choice);
}

/* The index of one that is ready, -1 if none is, -2 with an exception.  `own`: our wait, once begun. */
static Py_ssize_t choose(struct selection *selection, const struct wf_wait *own)
{
    Py_ssize_t chosen = -1;
    size_t met = 0;

    for (Py_ssize_t i = 0; i < selection->count; i++) {
        int ready = is_ready(&selection->choices[i], own);
        if (ready < 0)
            return -2;
        if (ready && drawn(selection->worker, ++met))
            chosen = i;
    }
    return chosen;
}

/* {=== Waiting ===} */

static void take_places(struct selection *selection)
{
    wf_wait_begin(&selection->wait, selection->worker, selection->places, (size_t)selection->count);
    for (Py_ssize_t i = 0; i < selection->count; i++) {
        const struct choice *choice = &selection->choices[i];
        selection->places[i].value = choice->argument;
        if (choice->operation)
            wf_place_take(&selection->places[i], choice->operation->queue(choice->self));
    }
}

/* Every place but that of `but` (-1: none) is given up for good. */
static void places_left(struct selection *selection, Py_ssize_t but)
{
    for (Py_ssize_t i = 0; i < selection->count; i++) {
        const struct choice *choice = &selection->choices[i];
        if (i != but && choice->operation && choice->operation->left)
            choice->operation->left(choice->self, &selection->places[i]);
    }
}

static void forget_descriptors(struct selection *selection, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (!selection->choices[i].operation && !selection->choices[i].unwaitable)
            wf_reactor_unwait(&selection->worker->reactor, &selection->choices[i].io);
}

/* Tells the reactor of each descriptor, for the park that was begun.  1; 0: one need not be waited for; -1. */
static int tell_descriptors(struct selection *selection)
{
    struct wf_worker *worker = selection->worker;

    for (Py_ssize_t i = 0; i < selection->count; i++) {
        struct choice *choice = &selection->choices[i];
        if (choice->operation)
            continue;
        if (wf_reactor_wait(&worker->reactor, &choice->io, choice->fd, choice->writes ? EPOLLOUT : EPOLLIN,
                            worker->current, selection->wait.park_id, worker->now_ns) == 0)
            continue;
        forget_descriptors(selection, i);
        choice->unwaitable = errno == EPERM;
        if (choice->unwaitable)
            return 0;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 1;
}

/* Parks once. */
static enum wf_wait_end park(struct selection *selection, int64_t deadline_ns)
{
    struct wf_worker *worker = selection->worker;
    const void *shown = (const void *)(intptr_t)selection->count;
    enum wf_wait_end end;
    int told;

    if (!selection->has_descriptors)
        return wf_wait_park(worker, &selection->wait, WF_PARK_SELECT, shown, deadline_ns);
    if (selection->wait.served != WF_UNSERVED)
        return WF_WAIT_SERVED;
    selection->wait.park_id = wf_park_begin(worker);
    told = tell_descriptors(selection);
    if (told <= 0)
        return told < 0 ? WF_WAIT_BROKEN : WF_WAIT_AGAIN;
    end = wf_wait_park_begun(worker, &selection->wait, WF_PARK_SELECT, shown, deadline_ns);
    forget_descriptors(selection, selection->count);
    return end;
}

/* {=== Doing it ===} */

/* Whose place was served. */
static Py_ssize_t index_served(const struct selection *selection)
{
    Py_ssize_t index = selection->wait.by - selection->places;

    wf_assert(index >= 0 && index < selection->count && selection->choices[index].operation != NULL,
              "a place was served that is none of this select's");
    return index;
}

static PyObject *pair(Py_ssize_t index, PyObject *value)
{
    return value == NULL ? NULL : Py_BuildValue("nN", index, value);
}

static PyObject *do_now(struct selection *selection, Py_ssize_t index)
{
    const struct choice *choice = &selection->choices[index];

    if (choice->operation)
        return pair(index, choice->operation->now(choice->self, choice->argument));
    return pair(index, PyObject_Call(choice->callable, choice->arguments, NULL));
}

/* What was handed over is given back: an exception goes first. */
static PyObject *broken(struct selection *selection)
{
    struct wf_place *by = selection->wait.by;

    if (selection->wait.served == WF_GIVEN) {
        const struct choice *choice = &selection->choices[index_served(selection)];
        if (choice->operation->undo)
            choice->operation->undo(choice->self, by);
    }
    places_left(selection, -1);
    return NULL;
}

static PyObject *served(struct selection *selection)
{
    Py_ssize_t index = index_served(selection);
    const struct choice *choice = &selection->choices[index];
    PyObject *result = pair(index, choice->operation->after(choice->self, choice->argument, selection->wait.by));

    places_left(selection, -1);
    return result;
}

/* The pair; NULL with an exception, or without one: not in time. */
static PyObject *wait_and_do(struct selection *selection, int64_t deadline_ns)
{
    Py_ssize_t chosen = -1;
    enum wf_wait_end end;
    PyObject *result;

    take_places(selection);
    do {
        end = park(selection, deadline_ns);
        if (end == WF_WAIT_AGAIN || end == WF_WAIT_EXPIRED)
            chosen = choose(selection, &selection->wait);
    } while (end == WF_WAIT_AGAIN && chosen == -1);
    wf_wait_leave(&selection->wait);
    if (end == WF_WAIT_SERVED)
        return served(selection);
    if (end == WF_WAIT_BROKEN)
        return broken(selection);
    if (chosen < 0) {
        places_left(selection, -1);
        return NULL;
    }
    places_left(selection, chosen);
    result = do_now(selection, chosen);
    if (selection->choices[chosen].operation && selection->choices[chosen].operation->left)
        selection->choices[chosen].operation->left(selection->choices[chosen].self, &selection->places[chosen]);
    return result;
}

static PyObject *not_in_time(PyObject *fallback)
{
    if (fallback != NULL)
        return Py_BuildValue("iO", -1, fallback);
    PyErr_SetString(PyExc_TimeoutError, "no case of select() was ready in time");
    return NULL;
}

/* {=== What Python calls ===} */

static int64_t deadline_of(PyObject *timeout, PyObject *fallback)
{
    if (fallback != NULL && (timeout == NULL || timeout == Py_None))
        return WF_AT_ONCE;
    return wf_deadline_from(timeout);
}

static int read_cases(struct selection *selection, PyObject *const *items)
{
    for (Py_ssize_t i = 0; i < selection->count; i++)
        selection->choices[i].arguments = NULL;
    for (Py_ssize_t i = 0; i < selection->count; i++) {
        if (read_case(&selection->choices[i], items[i]) < 0)
            return -1;
        selection->has_descriptors |= selection->choices[i].operation == NULL;
    }
    return 0;
}

static PyObject *select_one(struct selection *selection, PyObject *const *items, PyObject *timeout, PyObject *fallback)
{
    int64_t deadline_ns = deadline_of(timeout, fallback);
    PyObject *result = NULL;
    Py_ssize_t chosen;

    if (deadline_ns < 0 || read_cases(selection, items) < 0)
        return NULL;
    chosen = choose(selection, NULL);
    if (chosen >= 0)
        return do_now(selection, chosen);
    if (chosen == -1 && deadline_ns != WF_AT_ONCE)
        result = wait_and_do(selection, deadline_ns);
    if (result == NULL && !PyErr_Occurred())
        result = not_in_time(fallback);
    return result;
}

static PyObject *select_with(struct selection *selection, PyObject *const *items, PyObject *timeout, PyObject *fallback)
{
    PyObject *result = select_one(selection, items, timeout, fallback);

    for (Py_ssize_t i = 0; i < selection->count; i++)
        Py_XDECREF(selection->choices[i].arguments);
    return result;
}

/* With many cases: on a stack of 16 KB there is no room for them. */
static PyObject *select_many(struct selection *selection, PyObject *const *items, PyObject *timeout, PyObject *fallback)
{
    PyObject *result = NULL;

    selection->choices = PyMem_New(struct choice, (size_t)selection->count);
    selection->places = PyMem_New(struct wf_place, (size_t)selection->count);
    if (selection->choices == NULL || selection->places == NULL)
        PyErr_NoMemory();
    else
        result = select_with(selection, items, timeout, fallback);
    PyMem_Free(selection->choices);
    PyMem_Free(selection->places);
    return result;
}

PyDoc_STRVAR(select_doc,
"select(*cases, timeout=None, default=...)\n--\n\n"
"Do the first of several operations that can be done, and return (its index, its result).  Parks.\n\n"
"A case is a bound method, or a tuple of one and its argument: channel.recv, (channel.send, value),\n"
"queue.get, (queue.put, item), event.wait, lock.acquire, semaphore.acquire; (socket.recv, size) and its\n"
"kin, (os.read, fd, size), (os.write, fd, data).  If several are ready one is chosen by lot.\n"
"After `timeout` seconds, TimeoutError, or (-1, default).  With a default and no timeout it never waits.");

static PyObject *select_cases(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct wf_signature signature = {"select", {"timeout", "default"}, 2, 0};
    struct selection selection = {.worker = wf_worker_get(), .count = nargs};
    PyObject *bound[2];

    (void)module;
    if (selection.worker == NULL || wf_bind(&signature, args + nargs, 0, kwnames, bound) < 0)
        return NULL;
    if (nargs == 0) {
        PyErr_SetString(PyExc_TypeError, "select() needs at least one case");
        return NULL;
    }
    if (nargs > FEW)
        return select_many(&selection, args, bound[0], bound[1]);
    struct choice choices[FEW];
    struct wf_place places[FEW];
    selection.choices = choices;
    selection.places = places;
    return select_with(&selection, args, bound[0], bound[1]);
}

PyDoc_STRVAR(find_doc,
"_set_descriptor_finder(find, /)\n--\n\n"
"Who tells which descriptor a case waits for that is none of weft's own.");

static PyObject *set_descriptor_finder(PyObject *module, PyObject *find)
{
    (void)module;
    Py_XSETREF(find_descriptor, Py_NewRef(find));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"select", (PyCFunction)(void (*)(void))select_cases, METH_FASTCALL | METH_KEYWORDS, select_doc},
    {"_set_descriptor_finder", set_descriptor_finder, METH_O, find_doc},
    {NULL, NULL, 0, NULL},
};

int wf_select_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
