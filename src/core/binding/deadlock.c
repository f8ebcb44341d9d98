/* deadlock.c - see deadlock.h.
 *
 * The scheduler calls patience() on the stack of whoever parked last, in the middle of his park: nothing of
 * Python can run there.  So the question is left as a pending call, which CPython makes in the main thread
 * after a wait that was interrupted, and the main green thread's wait is interrupted.
 *
 * A situation is told by the number of parks: as long as nobody has parked, nobody has run.
 */
#include "deadlock.h"

#include "lock.h"
#include "offload.h"
#include "preempt.h"
#include "sched.h"

#include <sys/stat.h>

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

/* Does any OS thread exist besides this one, the watchdog, and helpers without work?  A process's task
 * directory has a link for each, and two of its own; where it has not (some sandboxes), we believe there are. */
static bool has_other_os_threads(void)
{
    struct wf_offload_state offload = wf_offload_state();
    size_t ours = 1 + wf_preempt_running() + offload.idle;
    struct stat tasks;

    return offload.queued > 0 || stat("/proc/self/task", &tasks) < 0 || tasks.st_nlink != 2 + ours;
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
    if (judge == NULL || worker != wf_this_worker || worker->parks != question.parks || worker->runq.len > 0)
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
    question.awaited = main->reason == WF_PARK_LOCK ? (intptr_t)wf_lock_holder(main->awaited) : main->awaited;
    if (Py_AddPendingCall(ask, NULL) == 0)
        wf_sched_interrupt();
}

/* How long a worker may sleep for whom nothing can happen by itself; negative: for ever. */
static int64_t patience(struct wf_worker *worker)
{
    struct wf_quiet *quiet = &worker->quiet;
    int64_t now_ns = wf_real_now_ns();

    if (judge == NULL || quiet->judged == worker->parks)
        return -1;
    if (quiet->parks != worker->parks) {
        quiet->parks = worker->parks;
        quiet->pause_ns = FIRST_PAUSE_NS;
        quiet->look_ns = now_ns + FIRST_PAUSE_NS;
    } else if (now_ns >= quiet->look_ns) {
        if (!has_other_os_threads())
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

static PyMethodDef functions[] = {
    {"_watch_deadlocks", watch_deadlocks, METH_O, watch_doc},
    {NULL, NULL, 0, NULL},
};

int wf_deadlock_init(PyObject *module)
{
    wf_sched_when_quiet(patience);
    return PyModule_AddFunctions(module, functions);
}
