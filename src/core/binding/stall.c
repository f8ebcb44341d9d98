/* stall.c - see stall.h. */
#include "stall.h"

#include "emergency.h"
#include "native.h"
#include "tstate.h"

#include <math.h>

/* A stack is cut here; what a hog does stands at its inner end. */
#define MOST_FRAMES 200

static int64_t threshold_ns = WF_NEVER;
static PyObject *report; /* callable; NULL: nobody has asked yet */
static int report_fd;    /* for what is said without Python; negative: nowhere */

/* C code has held the GIL for so many thresholds: it may never let go, so we say what can be said now. */
#define LOST 10

/* Where that was said; once for each place is enough. */
#define MOST_LOST 64
static struct wf_code_place lost[MOST_LOST];
static size_t lost_count;

/* The watchdog's attempt at a hog. */
static struct {
    struct wf_worker *worker;
    struct wf_fiber *hog;
    uint64_t serial, switches;
    int64_t began_ns;
    bool sampled;
    bool lost_told;
    bool came_early; /* it waited for the GIL as we did: somebody else held that */
    char native[256];
} attempt;

int64_t wf_stall_threshold_ns(void)
{
    return threshold_ns;
}

/* {=== The three phases ===} */

static bool is_stall(const struct wf_worker *worker, int64_t now_ns)
{
    return threshold_ns != WF_NEVER && !worker->watched.stall_told
           && now_ns - worker->watched.stalled_since_ns >= threshold_ns;
}

static void sample(void)
{
    attempt.sampled = true;
    wf_native_where(attempt.worker->tid, attempt.native, sizeof attempt.native);
}

void wf_stall_watch(struct wf_worker *worker)
{
    attempt.worker = worker;
    attempt.hog = worker->current;
    attempt.serial = attempt.hog->serial;
    attempt.switches = worker->switches;
    attempt.began_ns = wf_now_ns();
    attempt.sampled = attempt.came_early = attempt.lost_told = false;
    attempt.native[0] = '\0';
    if (is_stall(worker, attempt.began_ns))
        sample();
}

/* {=== C code that does not let go of the GIL ===} */

static bool is_lost(void)
{
    return !attempt.lost_told && report_fd >= 0 && attempt.hog->blocking == 0
           && wf_now_ns() - attempt.worker->watched.stalled_since_ns >= LOST * threshold_ns;
}

/* True for a place that is new, and for one that cannot be told. */
static bool note_lost(PyThreadState *tstate)
{
    const void *frame = wf_tstate_innermost(tstate);
    struct wf_code_place place;

    if (!wf_tstate_read_frame(&frame, &place))
        return true;
    for (size_t i = 0; i < lost_count; i++)
        if (lost[i].code == place.code && lost[i].offset == place.offset)
            return false;
    if (lost_count < MOST_LOST)
        lost[lost_count++] = place;
    return true;
}

/* The hog may come out of its C code while we look; what we then read is not true, but it is read safely. */
static void tell_lost(void)
{
    struct wf_text text = {.fd = report_fd};
    PyThreadState *hogs = wf_tstate_holder();
    int64_t lasted_ms = (wf_now_ns() - attempt.worker->watched.stalled_since_ns) / WF_NS_PER_MS;

    attempt.lost_told = true;
    if (!note_lost(hogs))
        return;
    wf_say(&text, "weft: ");
    wf_say_who(&text, attempt.hog);
    wf_say(&text, " has kept its OS thread for ");
    wf_say_number(&text, (uint64_t)lasted_ms);
    wf_say(&text, " ms and still does, in C code that holds the GIL");
    wf_say(&text, attempt.native[0] != '\0' ? ": " : "");
    wf_say(&text, attempt.native);
    wf_say(&text, "\n");
    wf_say_stack(&text, hogs);
    wf_say(&text, "weft: no thread at all runs meanwhile, so this is what can be seen from outside, innermost first\n");
    wf_text_flush(&text);
}

bool wf_stall_wait_wanted(void)
{
    if (attempt.worker == NULL)
        return false;
    if (!atomic_load(&attempt.worker->preempt))
        attempt.came_early = true;
    return !attempt.came_early && (!attempt.sampled || is_lost()) && is_stall(attempt.worker, wf_now_ns());
}

void wf_stall_wait(void)
{
    if (!attempt.sampled)
        sample();
    else
        tell_lost();
}

/* NULL: it is none of the hog's doing. */
static const char *reason(bool came, int64_t now_ns)
{
    if (attempt.came_early)
        return NULL;
    if (now_ns - attempt.began_ns >= threshold_ns)
        return "held"; /* on a busy machine it may still be on its way */
    if (came)
        return attempt.worker->refused;
    return attempt.worker->switches == attempt.switches ? "released" : NULL;
}

/* [(code, offset of the instruction), ...], innermost first.  The frames cannot move: we hold the GIL. */
static PyObject *stack_of(unsigned long ident)
{
    PyFrameObject *frame = wf_tstate_frame(ident), *back;
    PyObject *stack = PyList_New(0), *entry;

    while (stack != NULL && frame != NULL && PyList_GET_SIZE(stack) < MOST_FRAMES) {
        entry = Py_BuildValue("(Ni)", PyFrame_GetCode(frame), PyFrame_GetLasti(frame));
        if (entry == NULL || PyList_Append(stack, entry) < 0)
            Py_CLEAR(stack);
        Py_XDECREF(entry);
        back = PyFrame_GetBack(frame);
        Py_SETREF(frame, back);
    }
    Py_XDECREF(frame);
    return stack;
}

/* What CPython knows the hog's thread by. */
static unsigned long ident_of(const struct wf_fiber *hog)
{
    return hog->kind == WF_ROOT ? (unsigned long)hog->worker->os_thread : wf_fiber_ident(hog);
}

static void tell(const char *why, int64_t lasted_ns)
{
    struct wf_fiber *hog = attempt.hog;
    PyObject *handle, *stack, *result = NULL;

    if (hog->serial != attempt.serial)
        return; /* it has ended */
    handle = Py_NewRef(hog->kind == WF_GREEN && hog->green != NULL ? (PyObject *)hog->green : Py_None);
    stack = stack_of(ident_of(hog));
    if (stack != NULL)
        result = PyObject_CallFunction(report, "OkdssO", handle, ident_of(hog), (double)lasted_ns / WF_NS_PER_S, why,
                                       attempt.native, stack);
    if (result == NULL)
        PyErr_WriteUnraisable(report);
    Py_XDECREF(result);
    Py_XDECREF(stack);
    Py_DECREF(handle);
}

void wf_stall_judge(bool came)
{
    struct wf_worker *worker = attempt.worker;
    int64_t now_ns = wf_now_ns();
    const char *why;

    if (wf_likely(!is_stall(worker, now_ns)) || (why = reason(came, now_ns)) == NULL)
        return;
    worker->watched.stall_told = true;
    if (attempt.hog->blocking == 0)
        tell(why, now_ns - worker->watched.stalled_since_ns);
}

/* {=== What Python calls ===} */

PyDoc_STRVAR(watch_doc,
"_watch_stalls(seconds, report, fd, /)\n--\n\n"
"Call report(handle or None, ident, seconds, reason, native function, stack) for each stall of that length.\n\n"
"While C code holds the GIL for much longer, some of it is written to `fd` (negative: no).  None: do not.");

static PyObject *watch_stalls(PyObject *module, PyObject *args)
{
    PyObject *seconds, *callable;
    double value;
    int fd;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOi:_watch_stalls", &seconds, &callable, &fd))
        return NULL;
    if (seconds == Py_None) {
        threshold_ns = WF_NEVER;
        Py_RETURN_NONE;
    }
    value = PyFloat_AsDouble(seconds);
    if (value == -1 && PyErr_Occurred())
        return NULL;
    if (!(value > 0) || !isfinite(value) || value > 1e6) {
        PyErr_SetString(PyExc_ValueError, "a stall lasts longer than 0 seconds");
        return NULL;
    }
    wf_native_init(); /* false: reports then say less */
    Py_XSETREF(report, Py_NewRef(callable));
    report_fd = fd;
    lost_count = 0;
    threshold_ns = (int64_t)(value * WF_NS_PER_S);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(hold_doc,
"_hold_stalls(change, /)\n--\n\n"
"Adds to the running green thread's count of reasons not to report that it stalls the others.");

static PyObject *hold_stalls(PyObject *module, PyObject *change)
{
    (void)module;
    return wf_add_reason(change, offsetof(struct wf_fiber, blocking));
}

static PyMethodDef functions[] = {
    {"_watch_stalls", watch_stalls, METH_VARARGS, watch_doc},
    {"_hold_stalls", hold_stalls, METH_O, hold_doc},
    {NULL, NULL, 0, NULL},
};

int wf_stall_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
