/* clock.c - what programs read of the virtual clock, and what sets it; clock.h has the idea. */
#include "clock.h"

#include "api.h"
#include "hook.h"

#include <sys/time.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *, void *);
static time_t (*real_time)(time_t *);

/* {=== Reading ===} */

static bool tells_time_since_boot(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE
           || clock == CLOCK_BOOTTIME;
}

static bool tells_time_of_day(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

static int hook_clock_gettime(clockid_t clock, struct timespec *now)
{
    bool since_boot = tells_time_since_boot(clock);
    int64_t ns;

    if (wf_likely(wf_clock == NULL) || (!since_boot && !tells_time_of_day(clock)))
        return real_clock_gettime(clock, now);
    wf_clock_asked(wf_clock, 1);
    ns = since_boot ? wf_now_ns() : wf_wall_ns();
    *now = (struct timespec){ns / WF_NS_PER_S, ns % WF_NS_PER_S};
    return 0;
}

static int hook_gettimeofday(struct timeval *now, void *zone)
{
    struct timespec precise;

    if (wf_likely(!wf_clock_stands()))
        return real_gettimeofday(now, zone);
    hook_clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

static time_t hook_time(time_t *result)
{
    struct timespec now;

    if (wf_likely(!wf_clock_stands()))
        return real_time(result);
    hook_clock_gettime(CLOCK_REALTIME, &now);
    if (result != NULL)
        *result = now.tv_sec;
    return now.tv_sec;
}

/* The last two are not functions of libc's but of the kernel's, chosen when they are bound: there is no entry in a symbol
 * table to be changed, so they are caught in the objects that call them only. */
static const struct wf_hook hooks[] = {
    WF_HOOK(clock_gettime, WF_HOOK_ALL),
    WF_HOOK(gettimeofday, WF_HOOK_PYTHON),
    WF_HOOK(gettimeofday, WF_HOOK_LIBRARY),
    WF_HOOK(time, WF_HOOK_PYTHON),
    WF_HOOK(time, WF_HOOK_LIBRARY),
};

static WF_HOOK_FAMILY(clock);

/* {=== What Python calls ===} */

/* The running OS thread's worker, if its clock is virtual and stands; or NULL with an exception. */
static struct wf_worker *standing(void)
{
    if (wf_clock_stands())
        return wf_this_worker;
    PyErr_SetString(PyExc_RuntimeError, "this OS thread has no virtual clock");
    return NULL;
}

PyDoc_STRVAR(start_doc,
"_clock_start(now_ns, wall_ns, /)\n--\n\n"
"Give the calling OS thread a virtual clock that stands at these times, or at the present ones where None.");

static PyObject *start(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct wf_worker *worker = wf_worker_get();
    int64_t ns[2] = {wf_now_ns(), wf_wall_ns()};

    (void)module;
    if (worker == NULL || wf_hook_ensure() < 0 || wf_hook_add(&wf_hooks_clock) < 0)
        return NULL;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "_clock_start() takes two times");
        return NULL;
    }
    for (int i = 0; i < 2; i++)
        if (args[i] != Py_None && (ns[i] = PyLong_AsLongLong(args[i])) == -1 && PyErr_Occurred())
            return NULL;
    if (wf_clock_stands()) {
        PyErr_SetString(PyExc_RuntimeError, "this OS thread has a virtual clock already");
        return NULL;
    }
    wf_clock_start(&worker->clock, ns[0], ns[1]);
    worker->grace_ns = WF_NS_PER_MS;
    wf_clock = &worker->clock;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc,
"_clock_stop()\n--\n\n"
"From now on time passes at the real speed; the monotonic clock goes on from where it stands.");

static PyObject *stop(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = standing();

    (void)module;
    (void)ignored;
    if (worker == NULL)
        return NULL;
    wf_clock_stop(&worker->clock);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(jump_doc,
"_clock_jump(seconds, /)\n--\n\nMove the virtual clock on; who waited for that runs when the caller parks.");

static PyObject *jump(PyObject *module, PyObject *seconds)
{
    struct wf_worker *worker = standing();
    int64_t ns = worker != NULL ? wf_seconds_to_ns(seconds) : -1, then;

    (void)module;
    if (ns < 0)
        return NULL;
    if (__builtin_add_overflow(worker->clock.now_ns, ns, &then) || then + worker->clock.wall_ns < then) {
        PyErr_SetString(PyExc_OverflowError, "so much time does not pass");
        return NULL;
    }
    wf_clock_jump(&worker->clock, then);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(grace_doc,
"_clock_grace(seconds, /)\n--\n\n"
"How long, really, somebody's wait for a descriptor keeps the virtual clock from jumping.");

static PyObject *grace(PyObject *module, PyObject *seconds)
{
    struct wf_worker *worker = standing();
    int64_t ns = worker != NULL ? wf_seconds_to_ns(seconds) : -1;

    (void)module;
    if (ns < 0)
        return NULL;
    worker->grace_ns = ns;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(outside_doc,
"_clock_outside(change, /)\n--\n\n"
"Add to the number of green threads of this OS thread that wait for what takes real time.");

static PyObject *outside(PyObject *module, PyObject *change)
{
    struct wf_worker *worker = wf_worker_get();
    long value = PyLong_AsLong(change);

    (void)module;
    if (worker == NULL || (value == -1 && PyErr_Occurred()))
        return NULL;
    worker->outside += (unsigned)value;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(wait_all_parked_doc,
"_wait_all_parked()\n--\n\n"
"Park until every other green thread of this OS thread is parked, and time must pass before one is not.");

static PyObject *wait_all_parked(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = wf_worker_get();
    struct wf_quiet_waiter waiter;
    enum wf_wake wake;

    (void)module;
    (void)ignored;
    if (worker == NULL)
        return NULL;
    do {
        waiter = (struct wf_quiet_waiter){.fiber = worker->current, .park_id = wf_park_begin(worker)};
        wf_list_push_back(&worker->quiet_waiters, &waiter.link);
        wake = wf_park(worker, WF_PARK_QUIET, WF_NEVER);
        wf_list_remove(&waiter.link);
        if (wf_see_to_interrupt(worker, wake) < 0)
            return NULL;
    } while (wake != WF_WOKEN);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_clock_start", (PyCFunction)(void (*)(void))start, METH_FASTCALL, start_doc},
    {"_clock_stop", stop, METH_NOARGS, stop_doc},
    {"_clock_jump", jump, METH_O, jump_doc},
    {"_clock_grace", grace, METH_O, grace_doc},
    {"_clock_outside", outside, METH_O, outside_doc},
    {"_wait_all_parked", wait_all_parked, METH_NOARGS, wait_all_parked_doc},
    {NULL, NULL, 0, NULL},
};

void wf_clock_end(void)
{
    if (wf_clock != NULL)
        *wf_clock = (struct wf_clock){.stands = false};
    wf_clock = NULL;
    if (wf_this_worker != NULL)
        wf_this_worker->now_ns = 0; /* time may have gone back, and what it was last seen to be must not be ahead */
}

int wf_clock_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
