/* hook_thread.c - who am I, and making threads: what CPython asks pthreads for.
 *
 * For CPython's own object only, pthread_self gives every green thread an identity of its own (its fiber's address), so
 * everything CPython decides by identity is right: threading.get_ident(), the owner of an RLock, of a buffered file's
 * lock, of a module's import lock.  From then on any pthread function that CPython hands an identity to must know ours,
 * and those too that a library may call, through ctypes for instance, with an identity it has from Python: they are all
 * here, but pthread_join (hook_join.c).
 *
 * pthread_create, after weft.install(), makes a fiber instead of an OS thread.  CPython then makes and deletes the
 * thread state itself, and the threading module works unchanged.  But CPython starts threads for purposes of
 * its own as well (faulthandler's watchdog must run when everything else is stuck), so only those
 * that run Python code become green: those whose start-up routine is the one that
 * _thread.start_new_thread uses.  wf_thread_learn finds it out by asking for one and refusing it.
 */
#include "hook.h"
#include "interrupt.h"
#include "snapshot.h"
#include "tstate.h"
#include "tstate_async.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static pthread_t (*real_pthread_self)(void);
static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int (*real_pthread_detach)(pthread_t);
static int (*real_pthread_kill)(pthread_t, int);
static int (*real_pthread_getcpuclockid)(pthread_t, clockid_t *);
static int (*real_pthread_getattr_np)(pthread_t, pthread_attr_t *);
static int (*real_pthread_setname_np)(pthread_t, const char *);
static int (*real_pthread_getname_np)(pthread_t, char *, size_t);

/* {=== Identity ===} */

static pthread_t hook_pthread_self(void)
{
    struct wf_worker *worker = wf_this_worker;

    if (wf_unlikely(worker == NULL))
        return real_pthread_self();
    if (wf_unlikely(worker->told.fiber == worker->current) && wf_interrupt_is_impersonated(worker))
        return (pthread_t)wf_tstate_main_ident();
    if (worker->current->kind != WF_ROOT)
        return (pthread_t)wf_fiber_ident(worker->current);
    return real_pthread_self();
}

/* The OS thread on which the thread of this identity lives. */
static pthread_t os_thread_of(pthread_t thread)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);
    return fiber == NULL ? thread : fiber->worker->os_thread;
}

static int hook_pthread_kill(pthread_t thread, int signal)
{
    return real_pthread_kill(os_thread_of(thread), signal);
}

static int hook_pthread_getcpuclockid(pthread_t thread, clockid_t *clock)
{
    return real_pthread_getcpuclockid(os_thread_of(thread), clock);
}

/* {=== Names ===}
 *
 * A green thread has its own as far as this process can see; the OS thread, which others see, keeps its own.  Not only
 * CPython (from 3.14 on) names threads: libraries do through ctypes, with threading's identities. */

static int hook_pthread_setname_np(pthread_t thread, const char *name)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);
    struct wf_belongings *own;

    if (fiber == NULL)
        return real_pthread_setname_np(thread, name);
    if (strlen(name) >= sizeof own->name)
        return ERANGE;
    own = wf_fiber_belongings(fiber);
    if (own == NULL)
        return ENOMEM;
    memcpy(own->name, name, strlen(name) + 1);
    own->named = true;
    return 0;
}

static int hook_pthread_getname_np(pthread_t thread, char *name, size_t size)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);
    const struct wf_belongings *own = fiber ? wf_fiber_has(fiber) : NULL;

    if (own == NULL || !own->named)
        return real_pthread_getname_np(os_thread_of(thread), name, size);
    if (size < sizeof own->name)
        return ERANGE;
    memcpy(name, own->name, sizeof own->name);
    return 0;
}

/* {=== Stacks ===} */

/* CPython >= 3.14 asks for the bounds of the C stack. */
static int hook_pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);
    int error = real_pthread_getattr_np(os_thread_of(thread), attr);

    if (error != 0 || fiber == NULL || fiber->vessel == NULL)
        return error;
    pthread_attr_setguardsize(attr, 0);
    return pthread_attr_setstack(attr, fiber->vessel->stack.lo,
                                 (size_t)(fiber->vessel->stack.top - fiber->vessel->stack.lo));
}

/* {=== OS threads, counted ===} */

static enum wf_thread_mode mode;
static pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wf_thread_counts counts;

struct counted_start {
    void *(*start)(void *);
    void *arg;
};

static void count(int change)
{
    pthread_mutex_lock(&counts_lock);
    counts.alive += (size_t)change;
    counts.started += change > 0;
    if (counts.alive > counts.peak_alive)
        counts.peak_alive = counts.alive;
    pthread_mutex_unlock(&counts_lock);
}

static void uncount(void *ignored)
{
    (void)ignored;
    count(-1);
}

static void *counted_run(void *arg)
{
    struct counted_start start = *(struct counted_start *)arg;
    void *result;

    PyMem_RawFree(arg);
    pthread_cleanup_push(uncount, NULL); /* CPython may end a thread with pthread_exit */
    result = start.start(start.arg);
    pthread_cleanup_pop(true);
    return result;
}

static int create_counted(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg)
{
    struct counted_start *counted = PyMem_RawMalloc(sizeof *counted);
    int error;

    if (counted == NULL)
        return EAGAIN;
    *counted = (struct counted_start){start, arg};
    count(+1);
    error = real_pthread_create(thread, attr, counted_run, counted);
    if (error != 0) {
        count(-1);
        PyMem_RawFree(counted);
    }
    return error;
}

struct wf_thread_counts wf_thread_counts(void)
{
    struct wf_thread_counts copy;

    pthread_mutex_lock(&counts_lock);
    copy = counts;
    pthread_mutex_unlock(&counts_lock);
    return copy;
}

/* {=== Which threads run Python ===} */

/* What CPython passes to its start routine, in every version from 3.7 on: the function and its argument. */
struct python_start {
    void (*function)(void *);
    void *arg;
};

static void (*runs_python)(void *); /* the function of threads that run Python code */
static bool learning;

/* gevent and eventlet put functions of their own there. */
static int refuse_patched(PyObject *threading)
{
    PyObject *start = PyObject_GetAttrString(threading, "start_new_thread");
    PyObject *home = start ? PyObject_GetAttrString(start, "__module__") : NULL;
    bool patched = home != NULL && !PyCFunction_Check(start);

    if (patched)
        PyErr_Format(PyExc_RuntimeError,
                     "threading cannot be made green: %S has replaced _thread.start_new_thread", home);
    Py_XDECREF(start);
    Py_XDECREF(home);
    return patched || home == NULL ? -1 : 0;
}

int wf_thread_learn(void)
{
    PyObject *threading, *function, *result;
    PyThreadState *newest;

    if (runs_python != NULL)
        return 0;
    threading = PyImport_ImportModule("_thread");
    if (threading == NULL)
        return -1;
    if (refuse_patched(threading) < 0) {
        Py_DECREF(threading);
        return -1;
    }
    newest = wf_tstate_newest();
    learning = true;
    function = PyObject_GetAttrString(threading, "get_ident");
    result = function ? PyObject_CallMethod(threading, "start_new_thread", "O()", function) : NULL;
    learning = false;
    wf_tstate_delete_abandoned(newest);
    Py_DECREF(threading);
    Py_XDECREF(function);
    Py_XDECREF(result);
    if (runs_python != NULL) {
        PyErr_Clear(); /* "can't start new thread": it was us */
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "weft could not see how this build of CPython starts threads");
    return -1;
}

/* {=== Green threads ===} */

static size_t default_stack_size(void)
{
    pthread_attr_t attr;
    size_t size = 0;

    if (pthread_getattr_default_np(&attr) == 0) {
        pthread_attr_getstacksize(&attr, &size);
        pthread_attr_destroy(&attr);
    }
    return size;
}

/* What threading.stack_size() asked for; 0: nothing. */
static size_t wanted_stack_size(const pthread_attr_t *attr)
{
    size_t size = 0;

    if (attr == NULL || pthread_attr_getstacksize(attr, &size) != 0)
        return 0;
    return size == default_stack_size() ? 0 : size;
}

static bool is_joinable(const pthread_attr_t *attr)
{
    int state = PTHREAD_CREATE_JOINABLE;

    if (attr != NULL)
        pthread_attr_getdetachstate(attr, &state);
    return state == PTHREAD_CREATE_JOINABLE;
}

static int create_green(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    struct wf_worker *worker = wf_worker_get(); /* CPython creates threads with the GIL held */
    struct wf_fiber *fiber;

    if (worker == NULL) {
        PyErr_Clear();
        return EAGAIN;
    }
    fiber = wf_fiber_new(worker, &worker->spare_fibers, WF_RAW);
    if (fiber == NULL)
        return EAGAIN;
    fiber->start = start;
    fiber->arg = arg;
    fiber->joinable = is_joinable(attr);
    wf_snapshot_note_start(fiber);
    if (!wf_sched_start_raw(worker, fiber, wanted_stack_size(attr))) {
        wf_fiber_free(fiber, &worker->spare_fibers);
        return EAGAIN;
    }
    *thread = (pthread_t)wf_fiber_ident(fiber);
    return 0;
}

static bool wants_green(const struct wf_worker *worker)
{
    return worker == NULL || (worker->passing == 0 && worker->current->os_threads == 0);
}

static int hook_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                               void *arg)
{
    void (*function)(void *) = ((struct python_start *)arg)->function;

    if (learning) {
        runs_python = function;
        return EAGAIN;
    }
    if (mode == WF_THREADS_GREEN && function == runs_python && wants_green(wf_this_worker))
        return create_green(thread, attr, start, arg);
    if (mode == WF_THREADS_OS)
        return real_pthread_create(thread, attr, start, arg);
    return create_counted(thread, attr, start, arg);
}

static int hook_pthread_detach(pthread_t thread)
{
    struct wf_fiber *fiber = wf_fiber_from_ident((unsigned long)thread);

    if (fiber == NULL)
        return real_pthread_detach(thread);
    wf_sched_reap(fiber);
    return 0;
}

void wf_thread_set_mode(enum wf_thread_mode new_mode)
{
    mode = new_mode;
}

enum wf_thread_mode wf_thread_get_mode(void)
{
    return mode;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_self, WF_HOOK_PYTHON),
    WF_HOOK(pthread_create, WF_HOOK_PYTHON),
    WF_HOOK(pthread_detach, WF_HOOK_PYTHON),
    WF_HOOK(pthread_kill, WF_HOOK_ALL),
    WF_HOOK(pthread_getcpuclockid, WF_HOOK_ALL),
    WF_HOOK(pthread_getattr_np, WF_HOOK_PYTHON),
    WF_HOOK(pthread_setname_np, WF_HOOK_ALL),
    WF_HOOK(pthread_getname_np, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(thread);
