/* coroutine.c - see coroutine.h.
 *
 * The task is made without being initialised: enough for asyncio to give it to who asks for the current task, which may
 * cancel it and compare it; it comes to life only if the coroutine wants to wait.
 */
#include "coroutine.h"

#include "tstate.h"

/* What _shared_loop lends us: asyncio is imported only when somebody needs it. */
static struct {
    PyObject *get_running, *set_running; /* of the calling thread */
    PyObject *enter, *leave;             /* (loop, task) */
    PyObject *task_type;
    PyObject *begun;                     /* callable(coroutine, first, task) */
    PyObject *watch_async_gens;          /* callable(): of the calling thread */
} lent;

static PyObject *name_scheduled, *name_ready, *name_wake, *name_close;

/* How many timers a loop has; -1 with an exception. */
static Py_ssize_t count_timers(PyObject *loop)
{
    PyObject *scheduled = PyObject_GetAttr(loop, name_scheduled);
    Py_ssize_t count = scheduled ? PyObject_Size(scheduled) : -1;

    Py_XDECREF(scheduled);
    return count;
}

/* Has the loop got something to do since it had `timers` timers?  -1 with an exception. */
static int has_news(PyObject *loop, Py_ssize_t timers)
{
    PyObject *ready = PyObject_GetAttr(loop, name_ready);
    int is_ready = ready ? PyObject_IsTrue(ready) : -1;
    Py_ssize_t now = is_ready == 0 ? count_timers(loop) : 0;

    Py_XDECREF(ready);
    return is_ready != 0 ? is_ready : now < 0 ? -1 : now != timers;
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

static int wake_if_news(PyObject *loop, Py_ssize_t timers)
{
    int news = has_news(loop, timers);

    return news > 0 ? discard(PyObject_CallMethodNoArgs(loop, name_wake)) : news;
}

/* Sends the coroutine its first None as `task` of `loop`, which is the running one.  Leaves both in any case; what fails
 * on the way out is told, since the outcome of the step counts. */
static PySendResult step_in(PyObject *loop, PyObject *task, PyObject *coroutine, PyObject **result)
{
    PySendResult sent = PYGEN_ERROR;
    PyObject *type, *value, *traceback;

    *result = NULL;
    if (call_with_task(lent.enter, loop, task) < 0)
        return sent;
    sent = PyIter_Send(coroutine, Py_None, result);
    PyErr_Fetch(&type, &value, &traceback);
    if (call_with_task(lent.leave, loop, task) < 0)
        PyErr_WriteUnraisable(loop);
    PyErr_Restore(type, value, traceback);
    return sent;
}

/* The same, with the loop made the running one before, and woken afterwards if it has to be; if the coroutine waits, it
 * is woken by whoever sees to that. */
static PySendResult step_on(PyObject *loop, PyObject *before, PyObject *task, PyObject *coroutine, PyObject **result)
{
    Py_ssize_t timers = count_timers(loop);
    PySendResult sent = PYGEN_ERROR;
    PyObject *type, *value, *traceback;

    *result = NULL;
    if (timers < 0 || discard(PyObject_CallOneArg(lent.set_running, loop)) < 0)
        return sent;
    sent = step_in(loop, task, coroutine, result);
    PyErr_Fetch(&type, &value, &traceback);
    if (discard(PyObject_CallOneArg(lent.set_running, before)) < 0
        || (sent != PYGEN_NEXT && wake_if_news(loop, timers) < 0))
        PyErr_WriteUnraisable(loop);
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

static PyObject *take_step(PyObject *loop, PyObject *before, PyObject *coroutine)
{
    PyObject *task = new_task(), *result = NULL, *args[3];

    if (task != NULL && step_on(loop, before, task, coroutine, &result) == PYGEN_NEXT) {
        args[0] = coroutine;
        args[1] = result;
        args[2] = task;
        Py_SETREF(result, PyObject_Vectorcall(lent.begun, args, 3, NULL));
    }
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
"_first_step(loop, coroutine, /)\n--\n\n"
"Run a coroutine until it first waits, as the current task of `loop`, which only the caller uses now.\n\n"
"Returns what it returns; or, if it waits, what the callable that was lent makes of it, of what it\n"
"handed out, and of the task.  Raises what it raises, and RuntimeError in a coroutine of that loop.\n"
"Parks only if the coroutine blocks.");

static PyObject *first_step(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *before, *result = NULL;

    (void)module;
    if (nargs != 2 || lent.begun == NULL || !PyCoro_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_first_step() takes a loop and a coroutine");
        return NULL;
    }
    before = PyObject_CallNoArgs(lent.get_running);
    if (!wf_tstate_tells_of_async_gens() && discard(PyObject_CallNoArgs(lent.watch_async_gens)) < 0)
        Py_CLEAR(before);
    if (before != NULL)
        result = before == args[0] ? refuse(args[1]) : take_step(args[0], before, args[1]);
    Py_XDECREF(before);
    return result;
}

PyDoc_STRVAR(lend_asyncio_doc,
"_lend_asyncio(get_running, set_running, enter, leave, task_type, begun, watch_async_gens, /)\n--\n\n"
"What `_first_step` needs of asyncio; whom to call with a coroutine that waits, and in a green thread that\n"
"takes its first step and has no hooks for asynchronous generators yet.");

static PyObject *lend_asyncio(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject **places[] = {&lent.get_running, &lent.set_running, &lent.enter,
                           &lent.leave, &lent.task_type, &lent.begun, &lent.watch_async_gens};

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
    name_scheduled = PyUnicode_InternFromString("_scheduled");
    name_ready = PyUnicode_InternFromString("_ready");
    name_wake = PyUnicode_InternFromString("_wake");
    name_close = PyUnicode_InternFromString("close");
    if (name_scheduled == NULL || name_ready == NULL || name_wake == NULL || name_close == NULL)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
