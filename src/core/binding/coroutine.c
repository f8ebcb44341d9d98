/* coroutine.c - see coroutine.h.
 *
 * The task is made without being initialised: enough for asyncio to give it to who asks for the current task, which may
 * cancel it and compare it; it comes to life only if the coroutine wants to wait.
 */
#include "coroutine.h"

#include "sched.h"
#include "tstate.h"

/* What _shared_loop lends us: asyncio is imported only when somebody needs it. */
static struct {
    PyObject *get_running, *set_running; /* of the calling thread */
    PyObject *enter, *leave;             /* (loop, task) */
    PyObject *task_type;
    PyObject *adopt;                     /* callable(loop, coroutine, first, task) */
    PyObject *watch_async_gens;          /* callable(): of the calling thread */
} lent;

static PyObject *name_wake, *name_close;

/* A step to take, and where.  Who takes it holds the loop's baton, so both queues stay the loop's own meanwhile. */
struct step {
    PyObject *loop, *coroutine;
    PyObject *ready;     /* the loop's deque of what is to be called */
    PyObject *scheduled; /* the loop's list of timers */
    PyObject *before;    /* the calling thread's running loop, or None */
};

/* Has the loop got something to do since it had `timers` timers?  -1 with an exception. */
static int has_news(const struct step *step, Py_ssize_t timers)
{
    return PyList_GET_SIZE(step->scheduled) != timers ? 1 : PyObject_IsTrue(step->ready);
}

static int discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int call_with_task(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {loop, task};

    return discard(PyObject_Vectorcall(function, args, 2, NULL));
}

static int wake_if_news(const struct step *step, Py_ssize_t timers)
{
    int news = has_news(step, timers);

    return news > 0 ? discard(PyObject_CallMethodNoArgs(step->loop, name_wake)) : news;
}

/* Sends the coroutine its first None as `task` of the loop, which is the running one.  Leaves both in any case; what
 * fails on the way out is told, since the outcome of the step counts. */
static PySendResult step_in(const struct step *step, PyObject *task, PyObject **result)
{
    PySendResult sent = PYGEN_ERROR;
    PyObject *type, *value, *traceback;

    *result = NULL;
    if (call_with_task(lent.enter, step->loop, task) < 0)
        return sent;
    sent = PyIter_Send(step->coroutine, Py_None, result);
    PyErr_Fetch(&type, &value, &traceback);
    if (call_with_task(lent.leave, step->loop, task) < 0)
        PyErr_WriteUnraisable(step->loop);
    PyErr_Restore(type, value, traceback);
    return sent;
}

/* The same, with the loop made the running one before, and woken afterwards if it has to be; if the coroutine waits, it
 * is woken by whoever sees to that. */
static PySendResult step_on(const struct step *step, PyObject *task, PyObject **result)
{
    Py_ssize_t timers = PyList_GET_SIZE(step->scheduled);
    PySendResult sent = PYGEN_ERROR;
    PyObject *type, *value, *traceback;

    *result = NULL;
    if (discard(PyObject_CallOneArg(lent.set_running, step->loop)) < 0)
        return sent;
    sent = step_in(step, task, result);
    PyErr_Fetch(&type, &value, &traceback);
    if (discard(PyObject_CallOneArg(lent.set_running, step->before)) < 0
        || (sent != PYGEN_NEXT && wake_if_news(step, timers) < 0))
        PyErr_WriteUnraisable(step->loop);
    PyErr_Restore(type, value, traceback);
    return sent;
}

static PyObject *new_task(void)
{
    PyTypeObject *type = (PyTypeObject *)lent.task_type;
    PyObject *nothing = PyTuple_New(0);
    PyObject *task = nothing ? type->tp_new(type, nothing, NULL) : NULL;

    Py_XDECREF(nothing);
    return task;
}

/* A coroutine that has begun and waits is nobody's until this is done, so the caller is not to be cancelled in it. */
static PyObject *adopt(const struct step *step, PyObject *first, PyObject *task)
{
    PyObject *args[] = {step->loop, step->coroutine, first, task}, *result;
    struct wf_fiber *caller = wf_this_worker->current;

    caller->no_preempt++;
    result = PyObject_Vectorcall(lent.adopt, args, 4, NULL);
    caller->no_preempt--;
    return result;
}

static PyObject *take_step(const struct step *step)
{
    PyObject *task = wf_worker_get() ? new_task() : NULL, *result = NULL;

    if (task != NULL && step_on(step, task, &result) == PYGEN_NEXT)
        Py_SETREF(result, adopt(step, result, task));
    Py_XDECREF(task);
    return result;
}

/* It will never begin; that it was meant to is no news to whoever gets the exception. */
static PyObject *refuse(PyObject *coroutine)
{
    if (discard(PyObject_CallMethodNoArgs(coroutine, name_close)) == 0)
        PyErr_SetString(PyExc_RuntimeError,
                        "a coroutine that waits for its own loop without `await` would wait for ever");
    return NULL;
}

PyDoc_STRVAR(first_step_doc,
"_first_step(loop, ready, scheduled, coroutine, /)\n--\n\n"
"Run a coroutine until it first waits, as the current task of `loop`, which only the caller uses now.\n\n"
"`ready` and `scheduled` are the loop's queues, a deque and a list.  Returns what the coroutine returns; or,\n"
"if it waits, what the callable that was lent makes of the loop, of it, of what it handed out, and of the task.\n"
"Raises what it raises, and RuntimeError in a coroutine of that loop.  Parks only if the coroutine blocks.");

static PyObject *first_step(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct step step;
    PyObject *result = NULL;

    (void)module;
    if (nargs != 4 || lent.adopt == NULL || !PyList_CheckExact(args[2]) || !PyCoro_CheckExact(args[3])) {
        PyErr_SetString(PyExc_TypeError, "_first_step() takes a loop, its two queues, and a coroutine");
        return NULL;
    }
    step = (struct step){.loop = args[0], .ready = args[1], .scheduled = args[2], .coroutine = args[3]};
    step.before = PyObject_CallNoArgs(lent.get_running);
    if (!wf_tstate_tells_of_async_gens() && discard(PyObject_CallNoArgs(lent.watch_async_gens)) < 0)
        Py_CLEAR(step.before);
    if (step.before != NULL)
        result = step.before == step.loop ? refuse(step.coroutine) : take_step(&step);
    Py_XDECREF(step.before);
    return result;
}

PyDoc_STRVAR(lend_asyncio_doc,
"_lend_asyncio(get_running, set_running, enter, leave, task_type, adopt, watch_async_gens, /)\n--\n\n"
"What `_first_step` needs of asyncio; whom to call with a coroutine that waits, and in a green thread that\n"
"takes its first step and has no hooks for asynchronous generators yet.");

static PyObject *lend_asyncio(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject **places[] = {&lent.get_running, &lent.set_running, &lent.enter,
                           &lent.leave, &lent.task_type, &lent.adopt, &lent.watch_async_gens};

    (void)module;
    if (nargs != 7 || !PyType_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "_lend_asyncio() takes seven callables, of which the fifth is a type");
        return NULL;
    }
    for (int i = 0; i < 7; i++)
        Py_XSETREF(*places[i], Py_NewRef(args[i]));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_first_step", (PyCFunction)(void (*)(void))first_step, METH_FASTCALL, first_step_doc},
    {"_lend_asyncio", (PyCFunction)(void (*)(void))lend_asyncio, METH_FASTCALL, lend_asyncio_doc},
    {NULL, NULL, 0, NULL},
};

int wf_coroutine_init(PyObject *module)
{
    name_wake = PyUnicode_InternFromString("_wake");
    name_close = PyUnicode_InternFromString("close");
    if (name_wake == NULL || name_close == NULL)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
