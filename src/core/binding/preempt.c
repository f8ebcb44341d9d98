/* preempt.c - the watchdog and the point at which a hog gives way; preempt.h has the idea.
 *
 * What the watchdog reads of a worker it reads without a lock, while the worker runs: counters
 * and flags that may be a moment old.  A wrong guess costs one needless turn, or one slice
 * more.  Workers' memory is never given back.
 *
 * Each attempt at a hog is shown to stall.c, which tells the user if attempts do not help.
 *
 * A turn begins when CPython is asked to let go, not a switch interval later: the first wait
 * of the watchdog for the GIL is reported as timed out at once, which is what makes CPython ask the holder.
 */
#include "preempt.h"

#include "cancel.h"
#include "sched.h"
#include "stall.h"
#include "tstate.h"

#include <errno.h>
#include <linux/close_range.h>
#include <math.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static int (*real_pthread_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

/* All workers asleep for this long: so is the watchdog, until one has something to do. */
#define DOZE_AFTER_NS (50 * WF_NS_PER_MS)

/* How long the watchdog keeps the GIL for a hog that does not come: one that waits for a lock of C code, say. */
#define PATIENCE_NS (2 * WF_NS_PER_MS)

#define SHORTEST_SLICE_NS (WF_NS_PER_MS / 20)

/* A hog was found at most so many slices ago: look twice in a slice.  Otherwise once will do: a look costs some
 * 50 us of a processor, most of it the kernel's and the cache's. */
#define ALERT 100

/* This part of a slice after a hog has given way, another may be at it. */
#define SOON 16

/* More hogs than this wait for the next look. */
#define MOST_HOGS 16

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;    /* for the watchdog: stop, new slice, a hog gave way, somebody woke */
    sem_t ready;               /* it has its thread state */
    pthread_t thread;
    bool running, stop, doze;
    bool blind;                /* it has no descriptors */
    bool off, own_slice;       /* set_preemption(None); set_preemption(a number) */
    int64_t slice_ns;
    int64_t idle_since_ns, next_look_ns, alert_until_ns;
} watchdog;

static __thread bool is_watchdog, asked; /* this OS thread is the watchdog; has asked for the GIL */

static void watchdog_reset(void)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&watchdog.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog.changed, &attr);
    pthread_condattr_destroy(&attr);
    sem_init(&watchdog.ready, 0, 0);
    watchdog.running = watchdog.stop = watchdog.doze = false;
}

static void __attribute__((constructor)) watchdog_init(void)
{
    watchdog_reset();
    watchdog.slice_ns = 5 * WF_NS_PER_MS; /* CPython's own default, until it has been asked */
}

/* With the lock held. */
static void wait_changed(int64_t until_ns)
{
    struct timespec until = {until_ns / WF_NS_PER_S, until_ns % WF_NS_PER_S};

    if (until_ns == WF_NEVER)
        pthread_cond_wait(&watchdog.changed, &watchdog.lock);
    else
        pthread_cond_timedwait(&watchdog.changed, &watchdog.lock, &until);
}

/* {=== Who hogs ===} */

/* How long nobody is taken for a hog. */
static int64_t turn_ns(void)
{
    return watchdog.off ? wf_stall_threshold_ns() / 2 : watchdog.slice_ns;
}

static bool is_idle(const struct wf_worker *worker)
{
    return worker->active == 0 || atomic_load(&worker->inbox.polling);
}

/* Without descriptors we cannot ask, and take those that wait for theirs to be ready. */
static bool somebody_is_ready(const struct wf_worker *worker)
{
    struct pollfd reactor = {.fd = worker->reactor.epoll_fd, .events = POLLIN};

    return watchdog.blind ? worker->reactor.waiting > 0 : poll(&reactor, 1, 0) > 0;
}

/* Could anybody else run there? */
static bool somebody_waits(const struct wf_worker *worker, int64_t now_ns)
{
    return worker->runq.len > 0
           || (!worker->clock.stands && wf_timer_next(&worker->timers) <= now_ns + worker->clock.now_ns)
           || atomic_load(&worker->inbox.head) != NULL || atomic_load(&worker->interrupted)
           || somebody_is_ready(worker);
}

/* Waits somebody for a descriptor that might be ready though we were not told?  Only the worker itself can tell. */
static bool somebody_doubts(const struct wf_worker *worker)
{
    return !wf_list_empty(&worker->reactor.doubted);
}

/* What the worker's own clock says. */
static int64_t time_there(const struct wf_worker *worker, int64_t now_ns)
{
    return worker->clock.now_ns + (worker->clock.stands ? 0 : now_ns);
}

/* Has it been cancelled, or its deadline been over, for a slice?  It could have found that out by itself, where it is
 * easier on the code, if it had waited for anything.  Then its time is over, whether another could run or not. */
static bool is_cancelled(const struct wf_worker *worker, struct wf_fiber *running, int64_t now_ns)
{
    return atomic_load_explicit(&running->cancel_at_ns, memory_order_relaxed)
           <= time_there(worker, now_ns) - turn_ns();
}

struct look {
    int64_t now_ns, next_ns; /* the next is when a slice will be over, and at least once or twice in a slice */
    bool late;               /* we were kept from looking ourselves: so may have been the hogs */
    bool all_idle;
    struct wf_worker *hogs[MOST_HOGS];
    size_t hog_count;
};

static void look_at(struct wf_worker *worker, void *arg)
{
    struct look *look = arg;
    int64_t over_ns;
    bool waits;

    if (!worker->clock.stands)
        atomic_store_explicit(&worker->clock_ns, look->now_ns + worker->clock.now_ns, memory_order_relaxed);
    if (look->late)
        worker->watched.stalled_since_ns = look->now_ns;
    if (is_idle(worker) || worker->switches != worker->watched.switches || worker->watched.since_ns == 0) {
        look->all_idle = look->all_idle && is_idle(worker);
        worker->watched.switches = worker->switches;
        worker->watched.since_ns = look->now_ns;
        wf_stall_none(worker, look->now_ns);
        return;
    }
    look->all_idle = false;
    over_ns = worker->watched.since_ns + turn_ns();
    if (over_ns > look->now_ns) {
        look->next_ns = over_ns < look->next_ns ? over_ns : look->next_ns;
        return;
    }
    waits = somebody_waits(worker, look->now_ns) || is_cancelled(worker, worker->current, look->now_ns);
    if (!waits)
        wf_stall_none(worker, look->now_ns);
    if ((waits || somebody_doubts(worker)) && look->hog_count < MOST_HOGS)
        look->hogs[look->hog_count++] = worker;
}

/* {=== Making a hog give way ===} */

/* Who gave way when it was last asked to. */
static struct {
    struct wf_fiber *fiber;
    PyThreadState *tstate;
} attempt;

static void gave_way(struct wf_fiber *fiber)
{
    attempt.fiber = fiber;
    attempt.tstate = wf_tstate_bound();
}

/* With the lock held, and the GIL, for which there was contention: so the hog is on its way to the hook. */
static void wait_for_hog(struct wf_worker *worker)
{
    int64_t until_ns = wf_deadline(PATIENCE_NS);

    while (atomic_load(&worker->preempt) && !watchdog.stop && wf_now_ns() < until_ns)
        wait_changed(until_ns);
}

/* Not by way of Python code: without descriptors, nothing of the program's may run on the watchdog. */
static int64_t switch_interval_ns(void)
{
    PyObject *get = PySys_GetObject("getswitchinterval"); /* borrowed */
    PyObject *seconds = get != NULL && PyCFunction_Check(get) ? PyObject_CallNoArgs(get) : NULL;
    double value = seconds ? PyFloat_AsDouble(seconds) : -1;

    Py_XDECREF(seconds);
    if (PyErr_Occurred())
        PyErr_Clear(); /* somebody has replaced it; what we knew goes on */
    return value > 0 && value < 1e6 ? (int64_t)(value * WF_NS_PER_S) : watchdog.slice_ns;
}

/* It waits for the GIL, which we hold, to go on with the next bytecode. */
static void cancel_if_due(const struct wf_worker *worker, int64_t now_ns)
{
    if (is_cancelled(worker, attempt.fiber, now_ns))
        wf_cancel_tell(attempt.fiber, attempt.tstate, time_there(worker, now_ns));
}

static void preempt(struct wf_worker *worker, PyThreadState *own)
{
    bool came;

    wf_stall_watch(worker);
    atomic_store(&worker->preempt, true);
    asked = false;
    PyEval_RestoreThread(own);
    pthread_mutex_lock(&watchdog.lock);
    if (asked) /* otherwise the GIL was free: the hog has released it and will not come */
        wait_for_hog(worker);
    pthread_mutex_unlock(&watchdog.lock);
    came = !atomic_exchange(&worker->preempt, false);
    if (came && worker->refused == NULL)
        cancel_if_due(worker, wf_now_ns());
    wf_stall_judge(came);
    if (!watchdog.own_slice)
        watchdog.slice_ns = switch_interval_ns();
    PyEval_SaveThread();
    worker->watched.switches = worker->switches;
    worker->watched.since_ns = wf_now_ns();
}

/* {=== The watchdog ===} */

/* The first worker with something to do calls this, and then nobody until the next doze. */
static void rouse(void)
{
    pthread_mutex_lock(&watchdog.lock);
    watchdog.doze = false;
    pthread_cond_signal(&watchdog.changed);
    pthread_mutex_unlock(&watchdog.lock);
}

static void see_idle(struct wf_worker *worker, void *all_idle)
{
    if (!is_idle(worker))
        *(bool *)all_idle = false;
}

/* Either a worker that wakes sees that we want to be roused, or we see that it is awake. */
static void doze(void)
{
    bool all_idle = true;

    pthread_mutex_lock(&watchdog.lock);
    watchdog.doze = true;
    wf_sched_when_busy(rouse);
    pthread_mutex_unlock(&watchdog.lock);
    wf_worker_each(see_idle, &all_idle);
    pthread_mutex_lock(&watchdog.lock);
    while (watchdog.doze && all_idle && !watchdog.stop)
        wait_changed(WF_NEVER);
    wf_sched_when_busy(NULL);
    watchdog.doze = false;
    pthread_mutex_unlock(&watchdog.lock);
    watchdog.idle_since_ns = wf_now_ns();
}

/* Sleeps until it is time for the next look.  False: stop. */
static bool wait_for_next_look(void)
{
    bool stop;

    pthread_mutex_lock(&watchdog.lock);
    if (!watchdog.stop)
        wait_changed(watchdog.next_look_ns);
    stop = watchdog.stop;
    pthread_mutex_unlock(&watchdog.lock);
    return !stop;
}

static void look_after_all(PyThreadState *own)
{
    int64_t now_ns = wf_now_ns();
    struct look look = {.now_ns = now_ns, .next_ns = now_ns + turn_ns(), .all_idle = true};

    if (now_ns < watchdog.alert_until_ns)
        look.next_ns = now_ns + turn_ns() / 2;
    look.late = now_ns - watchdog.next_look_ns > wf_stall_threshold_ns() / 2;
    wf_worker_each(look_at, &look);
    for (size_t i = 0; i < look.hog_count; i++)
        preempt(look.hogs[i], own);
    if (look.hog_count > 0)
        watchdog.alert_until_ns = look.now_ns + ALERT * turn_ns();
    /* The next slice begins when the next hog is at it: look soon, to see when. */
    watchdog.next_look_ns = look.hog_count > 0 ? wf_deadline(turn_ns() / SOON) : look.next_ns;
    if (!look.all_idle)
        watchdog.idle_since_ns = look.now_ns;
    else if (look.now_ns - watchdog.idle_since_ns >= DOZE_AFTER_NS)
        doze();
}

/* The kernel counts the users of each file in every call, unless the table of descriptors has a single user: two OS
 * threads cost an echo server 3 %.  So we use another table, an empty one; but reports are written to descriptors. */
static void leave_descriptors(void)
{
    watchdog.blind = wf_stall_threshold_ns() == WF_NEVER
                     && syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE) == 0;
}

static void *watch(void *ignored)
{
    PyGILState_STATE state;
    PyThreadState *own;

    (void)ignored;
    is_watchdog = true;
    leave_descriptors();
    state = PyGILState_Ensure();
    own = PyEval_SaveThread();
    sem_post(&watchdog.ready);
    watchdog.idle_since_ns = watchdog.next_look_ns = wf_now_ns();
    while (wait_for_next_look())
        look_after_all(own);
    PyEval_RestoreThread(own);
    PyGILState_Release(state);
    return NULL;
}

/* With the lock held, which keeps the new OS thread from its first look. */
static bool start_thread(void)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&watchdog.thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

static bool is_wanted(void)
{
    return !watchdog.off || wf_stall_threshold_ns() != WF_NEVER;
}

/* It needs the GIL for its thread state, and should have that before there is a hog in C code.  With the GIL; if the interpreter
 * is at its end, the watchdog never comes. */
static void wait_until_ready(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    Py_BEGIN_ALLOW_THREADS
    sem_timedwait(&watchdog.ready, &until);
    Py_END_ALLOW_THREADS
}

void wf_preempt_ensure(void)
{
    bool started = false;

    if (wf_likely(watchdog.running || !is_wanted()))
        return;
    pthread_mutex_lock(&watchdog.lock);
    if (!watchdog.running)
        started = watchdog.running = start_thread();
    pthread_mutex_unlock(&watchdog.lock);
    if (started)
        wait_until_ready();
}

bool wf_preempt_running(void)
{
    return watchdog.running;
}

/* It counts as running until it has ended, so that nobody starts another meanwhile. */
void wf_preempt_stop(void)
{
    bool stop;

    pthread_mutex_lock(&watchdog.lock);
    stop = watchdog.running && !watchdog.stop;
    watchdog.stop = watchdog.running;
    pthread_cond_signal(&watchdog.changed);
    pthread_mutex_unlock(&watchdog.lock);
    if (!stop)
        return;
    Py_BEGIN_ALLOW_THREADS
    pthread_join(watchdog.thread, NULL);
    Py_END_ALLOW_THREADS
    pthread_mutex_lock(&watchdog.lock);
    watchdog.running = watchdog.stop = false;
    pthread_mutex_unlock(&watchdog.lock);
}

void wf_preempt_after_fork_child(void)
{
    watchdog_reset();
    wf_sched_when_busy(NULL);
    if (wf_this_worker != NULL)
        atomic_store(&wf_this_worker->preempt, false);
}

/* {=== The hook: CPython waits for the GIL ===} */

static void tell_watchdog(void)
{
    pthread_mutex_lock(&watchdog.lock);
    pthread_cond_signal(&watchdog.changed);
    pthread_mutex_unlock(&watchdog.lock);
}

/* Why the running fiber does not give way, in a word that _stalls.py explains; NULL: it does. */
static const char *refusal(const struct wf_worker *worker)
{
    if (watchdog.off)
        return "off";
    if (worker->current->no_preempt > 0)
        return "no_preempt";
    /* In the middle of a switch the running fiber is on its way out, or not yet in. */
    if (worker->passing > 0 || worker->current->state != WF_RUNNING)
        return "inside";
    return wf_tstate_in_destructor(wf_tstate_bound()) ? "destructor" : NULL;
}

/* In CPython's wait for the GIL, with its mutex held. */
static int watchdog_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    if (!asked) {
        asked = true;
        return ETIMEDOUT;
    }
    if (!wf_stall_wait_wanted())
        return real_pthread_cond_timedwait(cond, mutex, until);
    pthread_mutex_unlock(mutex);
    wf_stall_wait();
    pthread_mutex_lock(mutex);
    return 0;
}

/* CPython has asked the virtual clock, and the kernel waits by the real one. */
static struct timespec really(const struct timespec *until)
{
    int64_t real_ns = wf_timespec_ns(until) - wf_now_ns() + wf_real_now_ns();

    return (struct timespec){real_ns / WF_NS_PER_S, real_ns % WF_NS_PER_S};
}

static int hook_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    struct wf_worker *worker = wf_this_worker;
    struct timespec converted;

    if (wf_unlikely(is_watchdog))
        return watchdog_wait(cond, mutex, until);
    if (wf_unlikely(wf_clock != NULL)) {
        converted = really(until);
        until = &converted;
    }
    if (wf_likely(worker == NULL || !atomic_load_explicit(&worker->preempt, memory_order_relaxed)))
        return real_pthread_cond_timedwait(cond, mutex, until);
    pthread_mutex_unlock(mutex);
    worker->refused = refusal(worker);
    if (worker->refused == NULL)
        gave_way(worker->current);
    atomic_store(&worker->preempt, false);
    tell_watchdog();
    if (worker->refused == NULL)
        wf_yield_after_look(worker);
    pthread_mutex_lock(mutex);
    return 0;
}

/* {=== What Python calls ===} */

PyDoc_STRVAR(set_preemption_doc,
"set_preemption(seconds, /)\n--\n\n"
"Let no green thread run Python code for longer than this while another could run; None: let it.\n\n"
"Until it is called, the slice is sys.getswitchinterval().  ValueError unless it is at least 50 microseconds.\n"
"Does not park.");

static PyObject *set_preemption(PyObject *module, PyObject *seconds)
{
    double value;

    (void)module;
    if (seconds == Py_None) {
        watchdog.off = true;
        if (!is_wanted())
            wf_preempt_stop();
        Py_RETURN_NONE;
    }
    value = PyFloat_AsDouble(seconds);
    if (value == -1 && PyErr_Occurred())
        return NULL;
    if (!(value * WF_NS_PER_S >= SHORTEST_SLICE_NS) || !isfinite(value) || value > 1e6) {
        PyErr_SetString(PyExc_ValueError, "a time slice lasts at least 0.00005 seconds");
        return NULL;
    }
    watchdog.slice_ns = (int64_t)(value * WF_NS_PER_S);
    watchdog.own_slice = true;
    watchdog.off = false;
    if (wf_worker_count() > 0)
        wf_preempt_ensure();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_preemption_doc,
"get_preemption()\n--\n\n"
"The time slice in seconds, or None when preemption is off.  Does not park.");

static PyObject *get_preemption(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (watchdog.off)
        Py_RETURN_NONE;
    if (!watchdog.own_slice)
        watchdog.slice_ns = switch_interval_ns();
    return PyFloat_FromDouble((double)watchdog.slice_ns / WF_NS_PER_S);
}

PyDoc_STRVAR(pause_doc,
"_pause_preemption()\n--\n\n"
"End the watchdog until _resume_preemption: a process that forks should have as few OS threads as can be.");

static PyObject *pause_preemption(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    wf_preempt_stop();
    Py_RETURN_NONE;
}

static int start_again(void *ignored)
{
    (void)ignored;
    wf_preempt_ensure();
    return 0;
}

PyDoc_STRVAR(resume_doc,
"_resume_preemption()\n--\n\n"
"Start the watchdog when os.fork has returned: CPython counts the OS threads just before.");

static PyObject *resume_preemption(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (wf_worker_count() > 0 && !wf_tstate_call_soon(start_again))
        wf_preempt_ensure(); /* CPython 3.11 does not count */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(hold_doc,
"_hold_preemption(change, /)\n--\n\n"
"Adds to the running green thread's count of reasons not to be preempted.");

static PyObject *hold_preemption(PyObject *module, PyObject *change)
{
    (void)module;
    return wf_add_reason(change, offsetof(struct wf_fiber, no_preempt));
}

static PyMethodDef functions[] = {
    {"set_preemption", set_preemption, METH_O, set_preemption_doc},
    {"get_preemption", get_preemption, METH_NOARGS, get_preemption_doc},
    {"_pause_preemption", pause_preemption, METH_NOARGS, pause_doc},
    {"_resume_preemption", resume_preemption, METH_NOARGS, resume_doc},
    {"_hold_preemption", hold_preemption, METH_O, hold_doc},
    {NULL, NULL, 0, NULL},
};

int wf_preempt_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_cond_timedwait, WF_HOOK_PYTHON),
};

WF_HOOK_FAMILY(preempt);
