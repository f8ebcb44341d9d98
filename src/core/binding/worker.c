/* worker.c - which OS threads run green threads, and what becomes of that when a thread or the process ends, or forks.
 *
 * An OS thread gets its worker when it first calls weft, and keeps it until Python clears the
 * thread's dictionary, the last moment at which Python code may run on it.  The main thread's worker ends with
 * the process.
 *
 * Memory of a worker is only ever a worker's again: others may still post to it.
 */
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread struct wf_worker *wf_this_worker;

static struct wf_worker *workers; /* in use, one per OS thread */
static struct wf_worker *retired; /* of OS threads that have ended */
static atomic_size_t workers_made;
static struct wf_worker *_Atomic main_worker; /* of the OS thread that runs Python's signal handlers */
static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER;

/* {=== Making and retiring ===} */

/* What belongs to the OS thread, as opposed to what a retired worker hands on. */
static bool worker_open(struct wf_worker *worker)
{
    struct wf_fiber *root;

    if (!wf_sched_open(worker))
        return false;
    if (wf_fiber_init() < 0
        || (root = wf_fiber_new(worker, &worker->spare_fibers, WF_ROOT)) == NULL) {
        wf_sched_shut(worker);
        return false;
    }
    wf_sched_set_root(worker, root);
    return true;
}

static struct wf_worker *worker_new(void)
{
    struct wf_worker *worker = calloc(1, sizeof *worker);

    if (worker == NULL)
        return NULL;
    if (wf_sched_init(worker))
        return worker;
    wf_sched_term(worker);
    free(worker); /* nobody has seen it */
    return NULL;
}

static void put_aside(struct wf_worker *worker)
{
    pthread_mutex_lock(&workers_lock);
    worker->next = retired;
    retired = worker;
    pthread_mutex_unlock(&workers_lock);
}

/* Memory of a worker, like that of a fiber, is only ever a worker's again: somebody may
 * still post to it.  The vessels in its pools are handed on as well. */
static struct wf_worker *worker_take(void)
{
    struct wf_worker *worker;

    pthread_mutex_lock(&workers_lock);
    worker = retired;
    if (worker != NULL)
        retired = worker->next;
    pthread_mutex_unlock(&workers_lock);
    if (worker == NULL && (worker = worker_new()) == NULL)
        return NULL;
    if (worker_open(worker))
        return worker;
    put_aside(worker);
    return NULL;
}

static void worker_publish(struct wf_worker *worker)
{
    pthread_mutex_lock(&workers_lock);
    worker->next = workers;
    workers = worker;
    workers_made++;
    pthread_mutex_unlock(&workers_lock);
    wf_this_worker = worker;
}

static void worker_unpublish(struct wf_worker *worker)
{
    struct wf_worker **link = &workers;

    pthread_mutex_lock(&workers_lock);
    while (*link != worker)
        link = &(*link)->next;
    *link = worker->next;
    workers_made--;
    pthread_mutex_unlock(&workers_lock);
    wf_this_worker = NULL;
}

static int count_waited_for(struct wf_fiber *fiber, void *arg)
{
    return fiber->worker == arg && wf_fiber_is_living_green(fiber) && !fiber->daemon;
}

/* Runs this OS thread's green threads until only daemons are left. */
static void worker_drain(struct wf_worker *worker)
{
    while (wf_fiber_each(count_waited_for, worker)) {
        wf_park_begin(worker);
        wf_park_shielded(worker, WF_PARK_JOIN, wf_deadline(10 * WF_NS_PER_MS));
    }
}

/* The OS thread is ending.  Its green threads go on until they are done, as threads do that outlive the one that
 * started them; daemons stay parked for ever. */
static void worker_retire(struct wf_worker *worker)
{
    worker_drain(worker);
    wf_clock_end();
    worker_unpublish(worker);
    wf_sched_shut(worker);
    if (worker->live > 0)
        return; /* the daemons' fibers still point here */
    wf_sched_drop_root(worker);
    put_aside(worker);
}

/* Python clears a thread's dictionary when the thread ends: the last moment at which we may run Python code on it. */
static void os_thread_ends(PyObject *capsule)
{
    struct wf_worker *worker = PyCapsule_GetPointer(capsule, NULL);

    if (worker == wf_this_worker && worker->current == worker->root && worker->passing == 0)
        worker_retire(worker);
}

static int watch_os_thread(struct wf_worker *worker)
{
    PyObject *dict = PyThreadState_GetDict(); /* borrowed */
    PyObject *capsule = PyCapsule_New(worker, NULL, os_thread_ends);
    int result = -1;

    if (dict != NULL && capsule != NULL)
        result = PyDict_SetItemString(dict, "weft worker", capsule);
    Py_XDECREF(capsule);
    return result;
}

struct wf_worker *wf_worker_get(void)
{
    struct wf_worker *worker = wf_this_worker;

    if (wf_likely(worker != NULL))
        return worker;
    worker = worker_take();
    if (worker == NULL) {
        PyErr_SetFromErrno(errno == ENOMEM ? PyExc_MemoryError : PyExc_OSError);
        return NULL;
    }
    worker_publish(worker);
    if ((pid_t)syscall(SYS_getpid) == worker->tid)
        main_worker = worker; /* it ends with the process: _finalize sees to that */
    else if (watch_os_thread(worker) < 0)
        return NULL;
    return worker;
}

PyObject *wf_add_reason(PyObject *change, size_t offset)
{
    struct wf_worker *worker = wf_worker_get();
    long value = PyLong_AsLong(change);

    if (worker == NULL || (value == -1 && PyErr_Occurred()))
        return NULL;
    *(int *)((char *)worker->current + offset) += (int)value;
    Py_RETURN_NONE;
}

void wf_worker_each(void (*visit)(struct wf_worker *worker, void *arg), void *arg)
{
    pthread_mutex_lock(&workers_lock);
    for (struct wf_worker *worker = workers; worker != NULL; worker = worker->next)
        visit(worker, arg);
    pthread_mutex_unlock(&workers_lock);
}

/* A duplicate is the same file, with all that is registered in or for it. */
static void move_fd(int *fd, int from)
{
    if (*fd == from)
        *fd = fcntl(from, F_DUPFD_CLOEXEC, 3);
    wf_assert(*fd >= 0, "no descriptor left to move the scheduler's own to");
}

void wf_worker_leave_fd(int fd)
{
    struct wf_worker *worker = wf_this_worker;

    if (worker == NULL || worker->passing > 0 || !wf_worker_owns_fd(worker, fd))
        return;
    move_fd(&worker->reactor.epoll_fd, fd);
    move_fd(&worker->inbox.event_fd, fd);
}

size_t wf_worker_count(void)
{
    return workers_made;
}

/* {=== Signals, the end, and fork ===} */

void wf_sched_interrupt(void)
{
    struct wf_worker *worker = main_worker;

    if (worker == NULL)
        return;
    atomic_store(&worker->interrupted, true);
    wf_inbox_nudge(&worker->inbox);
}

void wf_worker_close(struct wf_worker *worker)
{
    worker->passing++;
}

void wf_sched_before_fork(void)
{
    pthread_mutex_lock(&workers_lock);
    wf_fiber_before_fork();
}

void wf_sched_after_fork_parent(void)
{
    wf_fiber_after_fork();
    pthread_mutex_unlock(&workers_lock);
}

void wf_sched_after_fork_child(void)
{
    struct wf_worker *worker = wf_this_worker;

    workers = worker;
    workers_made = worker != NULL;
    retired = NULL; /* the thread states in their vessels are about to be deleted */
    main_worker = worker;
    if (worker != NULL) {
        worker->next = NULL;
        wf_fiber_orphan_all_but(worker->current, worker->root);
        wf_sched_reborn(worker);
    }
    wf_fiber_after_fork();
    pthread_mutex_unlock(&workers_lock);
}
