/* deadlock.c - see deadlock.h.
 *
 * The scheduler calls patience() on the stack of whoever parked last, in the middle of his park: nothing of
 * Python can run there.  So the question is left as a pending call, which CPython makes in the main thread
 * after a wait that was interrupted, and the main green thread's wait is interrupted.
 *
 * A situation is told by the number of parks: as long as nobody has parked, nobody has run.
 */
#include "deadlock.h"

#include "bystander.h"
#include "carry.h"
#include "offload.h"
#include "preempt.h"
#include "snapshot.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A wait is not suspicious before this long. */
#define FIRST_PAUSE_NS (100 * WF_NS_PER_MS)
#define LAST_PAUSE_NS (60 * WF_NS_PER_S)

static PyObject *judge; /* callable(reason, what exactly the main green thread waits for); NULL: deadlocks are let be */

/* The question put to the judge. */
static struct {
    struct wf_worker *worker;
    uint64_t parks;
    enum wf_reason reason;
    intptr_t awaited;
} question;

/* {=== Asking ===} */

/* What the workers do, seen from one of them while they may be running. */
struct census {
    const struct wf_worker *seen_from;
    size_t quiet;   /* others that sleep, and that nothing can wake but somebody else */
    uint64_t steps; /* rises whenever any green thread runs */
};

static bool is_quiet(const struct wf_worker *worker)
{
    const struct wf_inbox *inbox = &worker->inbox;

    return atomic_load(&inbox->polling) && atomic_load(&inbox->head) == NULL && !atomic_load(&inbox->nudged)
           && worker->runq.len == 0 && worker->quiet.parks == worker->parks;
}

static void count_worker(struct wf_worker *worker, void *arg)
{
    struct census *census = arg;

    census->steps += worker->parks + worker->switches;
    census->quiet += worker != census->seen_from && is_quiet(worker);
}

/* A process's task directory has a link for each OS thread, and two of its own; where it has not (some sandboxes), there
 * are others for all we know. */
static bool are_all_known(size_t known)
{
    struct stat tasks;

    return stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 2 + known;
}

/* Is every OS thread but this one the watchdog, without work, or waiting for one of the others? */
static bool nobody_acts(const struct wf_worker *worker, uint64_t *steps)
{
    struct wf_offload_state offload = wf_offload_state();
    struct census census = {.seen_from = worker};
    size_t idle = 1 + wf_preempt_running() + offload.idle + wf_carriers().idle;

    wf_worker_each(count_worker, &census);
    *steps = census.steps;
    return offload.queued == 0 && are_all_known(idle + census.quiet + wf_bystanders());
}

/* They are looked at one after another, and who is looked at late may have woken one seen early, and gone to sleep
 * since.  So all are looked at twice: if nobody has run in between, all of it was true at once. */
static bool is_hopeless(const struct wf_worker *worker)
{
    uint64_t first, second;

    return nobody_acts(worker, &first) && nobody_acts(worker, &second) && first == second;
}

/* False with the judge's exception: a deadlock, or his failure. */
static bool answer(void)
{
    PyObject *answer = PyObject_CallFunction(judge, "sl", wf_reason_name(question.reason), (long)question.awaited);

    if (answer != NULL && answer != Py_None)
        PyErr_SetObject((PyObject *)Py_TYPE(answer), answer);
    Py_XDECREF(answer);
    return !PyErr_Occurred();
}

/* A pending call: in the main green thread, which has just been woken. */
static int ask(void *ignored)
{
    struct wf_worker *worker = question.worker;

    (void)ignored;
    if (judge == NULL || worker != wf_this_worker || worker->parks != question.parks || worker->runq.len > 0
        || !is_hopeless(worker))
        return 0; /* something has happened after all */
    if (!answer())
        return -1;
    worker->quiet.judged = worker->parks + 1; /* it parks again at once: the same situation */
    return 0;
}

/* Only a wait that can be interrupted, and that nothing of the kernel's will end. */
static bool can_be_asked(const struct wf_fiber *main)
{
    return main != NULL && main->state == WF_PARKED
           && (main->reason == WF_PARK_SEMAPHORE || main->reason == WF_PARK_JOIN || main->reason >= WF_PARK_LOCK);
}

static void suspect(struct wf_worker *worker)
{
    struct wf_fiber *main = worker->signals_to;

    if (!can_be_asked(main))
        return;
    question.worker = worker;
    question.parks = worker->parks;
    question.reason = main->reason;
    question.awaited = wf_snapshot_awaited(main);
    if (Py_AddPendingCall(ask, NULL) == 0)
        wf_sched_interrupt();
}

/* Only there can something be raised. */
static bool is_main(const struct wf_worker *worker)
{
    return worker->tid == (pid_t)syscall(SYS_getpid);
}

/* How long a worker may sleep for whom nothing can happen by itself; negative: for ever. */
static int64_t patience(struct wf_worker *worker)
{
    struct wf_quiet *quiet = &worker->quiet;
    int64_t now_ns = wf_real_now_ns();
    bool seen = quiet->parks == worker->parks;

    quiet->parks = worker->parks;
    if (judge == NULL || quiet->judged == worker->parks || !is_main(worker))
        return -1;
    if (!seen) {
        quiet->pause_ns = FIRST_PAUSE_NS;
        quiet->look_ns = now_ns + FIRST_PAUSE_NS;
    } else if (now_ns >= quiet->look_ns) {
        if (is_hopeless(worker))
            suspect(worker);
        if (quiet->pause_ns < LAST_PAUSE_NS)
            quiet->pause_ns *= 2;
        quiet->look_ns = now_ns + quiet->pause_ns;
    }
    return quiet->look_ns - now_ns;
}

/* {=== What Python calls ===} */

PyDoc_STRVAR(watch_doc,
"_watch_deadlocks(judge, /)\n--\n\n"
"Raise what judge(reason, awaited) returns, in the main green thread, when nothing can happen any more.");

static PyObject *watch_deadlocks(PyObject *module, PyObject *callable)
{
    (void)module;
    if (callable != Py_None && !PyCallable_Check(callable)) {
        PyErr_SetString(PyExc_TypeError, "_watch_deadlocks() takes a callable or None");
        return NULL;
    }
    Py_XSETREF(judge, callable == Py_None ? NULL : Py_NewRef(callable));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waiting_doc,
"_waiting_os_threads()\n--\n\n"
"[(native id, place of the lock)] of OS threads that wait for one without limit.");

static PyObject *waiting_os_threads(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return wf_bystander_list();
}

static PyMethodDef functions[] = {
    {"_waiting_os_threads", waiting_os_threads, METH_NOARGS, waiting_doc},
    {"_watch_deadlocks", watch_deadlocks, METH_O, watch_doc},
    {NULL, NULL, 0, NULL},
};

int wf_deadlock_init(PyObject *module)
{
    wf_sched_when_quiet(patience);
    return PyModule_AddFunctions(module, functions);
}
