/* tstate_async.c - see tstate_async.h.
 *
 * Nothing here has a public interface that is cheap enough, or does it without being seen by the program.
 */
#define Py_BUILD_CORE 1
#include "tstate_async.h"
#include "tstate.h"

#include "internal/pycore_ceval.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#undef Py_BUILD_CORE

#include "tstate_frame.h"

/* {=== An exception that is raised between two bytecodes ===} */

/* Up to 3.12 one flag of the interpreter says that some thread state has an exception to be raised, and the evaluation
 * loop takes the flag down only when it raises one.  Who takes an exception back must take the flag down too: while it
 * is up, every thread leaves the fast path at every check, and a traced one on 3.11 never gets past the check. */
#if PY_VERSION_HEX < 0x030D0000

static bool has_other_requests(struct _ceval_state *ceval)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (_Py_atomic_load(&ceval->gc_scheduled) || _Py_atomic_load(&_PyRuntime.ceval.pending_mainthread.calls_to_do))
        return true;
#endif
    return _Py_atomic_load(&ceval->gil_drop_request) || _Py_atomic_load(&ceval->pending.calls_to_do)
           || _Py_atomic_load(&_PyRuntime.ceval.signals_pending);
}

/* Whoever makes another request sets its own flag before the breaker: either we see the flag, or he sets the breaker
 * after us.  Other thread states with an exception raise the flag again when it is their turn. */
static void unsignal_async(PyThreadState *tstate)
{
    struct _ceval_state *ceval = &tstate->interp->ceval;

    ceval->pending.async_exc = 0;
    _Py_atomic_store(&ceval->eval_breaker, 0);
    if (has_other_requests(ceval))
        _Py_atomic_store(&ceval->eval_breaker, 1);
}

#else

static void unsignal_async(PyThreadState *tstate)
{
    _Py_unset_eval_breaker_bit(tstate, _PY_ASYNC_EXCEPTION_BIT);
}

#endif

/* PyThreadState_SetAsyncExc does this too, after a search through all threads. */
void wf_tstate_set_async(PyThreadState *tstate, PyObject *exception)
{
    PyObject *before = tstate->async_exc;

    tstate->async_exc = Py_XNewRef(exception);
    if (exception != NULL)
        wf_tstate_signal_async(tstate);
    else if (before != NULL)
        unsignal_async(tstate);
    Py_XDECREF(before);
}

bool wf_tstate_has_async(const PyThreadState *tstate, const PyObject *exception)
{
    return __atomic_load_n(&tstate->async_exc, __ATOMIC_RELAXED) == exception;
}

/* {=== Where a thread stands ===} */

void wf_tstate_where(PyThreadState *tstate, const void **frame, intptr_t *instruction)
{
    struct _PyInterpreterFrame *innermost = CURRENT_FRAME(tstate);

    *frame = innermost;
    *instruction = 0;
    if (innermost == NULL)
        return;
#if PY_VERSION_HEX < 0x030D0000
    *instruction = (intptr_t)innermost->prev_instr;
#else
    *instruction = (intptr_t)innermost->instr_ptr;
#endif
}

/* {=== Calls of Python functions ===} */

static struct {
    bool (*enter)(PyThreadState *tstate);
    void (*leave)(PyThreadState *tstate);
    _PyFrameEvalFunction evaluate; /* who evaluated frames before us */
} calls;

static PyObject *evaluate(PyThreadState *tstate, struct _PyInterpreterFrame *frame, int throws)
{
    _PyFrameEvalFunction next = calls.evaluate; /* leave, or others, may end the watch */
    void (*leave)(PyThreadState *) = calls.leave;
    bool entered = calls.enter != NULL && calls.enter(tstate);
    PyObject *result = next(tstate, frame, throws);

    if (entered)
        leave(tstate);
    return result;
}

void wf_tstate_watch_calls(bool (*enter)(PyThreadState *tstate), void (*leave)(PyThreadState *tstate))
{
    PyInterpreterState *interpreter = PyInterpreterState_Main();
    _PyFrameEvalFunction now = _PyInterpreterState_GetEvalFrameFunc(interpreter);

    calls.enter = enter;
    if (enter != NULL && now != evaluate) {
        calls.leave = leave;
        calls.evaluate = now;
        _PyInterpreterState_SetEvalFrameFunc(interpreter, evaluate);
    } else if (enter == NULL && now == evaluate) {
        _PyInterpreterState_SetEvalFrameFunc(interpreter, calls.evaluate);
    }
}

/* {=== Exceptions that come into Python code ===} */

static bool (*look_at_error)(PyThreadState *tstate, PyObject *exception);

#if PY_VERSION_HEX < 0x030C0000

/* What sys.settrace uses; CPython calls it for exceptions even in a thread that is not being traced otherwise. */
static int see_event(PyObject *ignored, PyFrameObject *frame, int what, PyObject *arg)
{
    (void)ignored;
    (void)frame;
    if (what != PyTrace_EXCEPTION || look_at_error == NULL)
        return 0;
    return look_at_error(PyThreadState_Get(), PyTuple_GET_ITEM(arg, 1)) ? -1 : 0;
}

void wf_tstate_watch_errors(PyThreadState *tstate, bool (*look)(PyThreadState *tstate, PyObject *exception))
{
    look_at_error = look;
    if (tstate->c_tracefunc == NULL)
        tstate->c_tracefunc = see_event;
}

void wf_tstate_unwatch_errors(PyThreadState *tstate, bool others)
{
    (void)others;
    if (tstate->c_tracefunc == see_event)
        tstate->c_tracefunc = NULL;
}

#else

/* sys.monitoring knows six tools; it has names for four. */
#define TOOL 4

/* Called with (code, offset, exception), in any thread. */
static PyObject *see_raise(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count == 3 && look_at_error != NULL && look_at_error(PyThreadState_Get(), args[2]))
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef see_raise_method = {
    "_see_raise", (PyCFunction)(void (*)(void))see_raise, METH_FASTCALL, "Raises weft.Cancelled instead, perhaps.",
};

/* Once.  False: somebody else is that tool. */
static bool become_tool(void)
{
    static bool tried, is_tool;
    PyObject *monitoring = PySys_GetObject("monitoring"), *used, *function, *before = NULL; /* borrowed */

    if (tried)
        return is_tool;
    tried = true;
    used = monitoring ? PyObject_CallMethod(monitoring, "use_tool_id", "is", TOOL, "weft") : NULL;
    function = used ? PyCFunction_New(&see_raise_method, NULL) : NULL;
    if (function != NULL)
        before = PyObject_CallMethod(monitoring, "register_callback", "iiO", TOOL, 1 << PY_MONITORING_EVENT_RAISE,
                                     function);
    is_tool = before != NULL;
    Py_XDECREF(used);
    Py_XDECREF(function);
    Py_XDECREF(before);
    if (!is_tool)
        PyErr_Clear();
    return is_tool;
}

/* sys.monitoring.set_events would look through the code of all threads for places to instrument.  Up to 3.14 there are none
 * for this event, so it is enough to say that we want it.  Since then what we want is looked up with the code, but it
 * may be asked for one code alone: that which the thread is in. */
#if PY_VERSION_HEX < 0x030F0000

static void watch_raise(PyThreadState *tstate, bool on)
{
    uint8_t *tools = &tstate->interp->monitors.tools[PY_MONITORING_EVENT_RAISE];

    *tools = on ? *tools | 1 << TOOL : *tools & ~(1 << TOOL);
}

#else

static void watch_raise(PyThreadState *tstate, bool on)
{
    struct _PyInterpreterFrame *frame = CURRENT_FRAME(tstate);
    PyObject *code = frame != NULL ? wf_frame_code(frame) : NULL, *result;

    if (code == NULL || !PyCode_Check(code))
        return;
    result = PyObject_CallMethod(PySys_GetObject("monitoring"), "set_local_events", "iOi", TOOL, code,
                                 on ? 1 << PY_MONITORING_EVENT_RAISE : 0);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(result);
}

#endif

void wf_tstate_watch_errors(PyThreadState *tstate, bool (*look)(PyThreadState *tstate, PyObject *exception))
{
    PyObject *pending = PyErr_GetRaisedException(); /* of the C code that waits */

    look_at_error = look;
    if (become_tool())
        watch_raise(tstate, true);
    PyErr_SetRaisedException(pending);
}

void wf_tstate_unwatch_errors(PyThreadState *tstate, bool others)
{
    if (!others)
        watch_raise(tstate, false);
}

#endif

/* {=== Signal handlers ===} */

unsigned long wf_tstate_main_ident(void)
{
    return _PyRuntime.main_thread;
}

#if PY_VERSION_HEX >= 0x030C0000

/* PyErr_SetInterruptEx would also wake the main thread's loop of asyncio, and make the main thread look at once: it
 * might come before the one we want to look. */
static int *word(volatile void *atomic)
{
    return (int *)(uintptr_t)atomic;
}

int wf_tstate_set_handler(PyObject *handler)
{
    PyObject **place = (PyObject **)(uintptr_t)&_PyRuntime.signals.handlers[WF_UNUSABLE_SIGNAL].func;
    PyObject *before = *place;

    __atomic_store_n(place, Py_NewRef(handler), __ATOMIC_SEQ_CST);
    Py_XDECREF(before);
    return 0;
}

void wf_tstate_trip(void)
{
    __atomic_store_n(word(&_PyRuntime.signals.handlers[WF_UNUSABLE_SIGNAL].tripped), 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(word(&_PyRuntime.signals.is_tripped), 1, __ATOMIC_SEQ_CST);
}

bool wf_tstate_is_tripped(void)
{
    return __atomic_load_n(word(&_PyRuntime.signals.is_tripped), __ATOMIC_SEQ_CST);
}

#else

int wf_tstate_set_handler(PyObject *handler)
{
    PyObject *module = PyImport_ImportModule("_signal");
    PyObject *before = module ? PyObject_CallMethod(module, "signal", "iO", WF_UNUSABLE_SIGNAL, handler) : NULL;

    Py_XDECREF(module);
    Py_XDECREF(before);
    return before == NULL ? -1 : 0;
}

void wf_tstate_trip(void)
{
    PyErr_SetInterruptEx(WF_UNUSABLE_SIGNAL);
}

/* Whether the handlers themselves have been called is not to be seen; but this is reset before they are. */
bool wf_tstate_is_tripped(void)
{
    return _Py_atomic_load_relaxed(&_PyRuntime.ceval.signals_pending);
}

#endif
