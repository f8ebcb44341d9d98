/* seed.c - the generator, and the points at which it preempts; seed.h has the idea.
 *
 * Rejected: lines as points (a race between two lines without a call is none: CPython does not switch there);
 *           sys.monitoring (not in 3.11, and for all threads of the process or none).
 */
#include "seed.h"

#include "sched.h"
#include "tstate.h"

/* Tempers: at most two to the power of so many points lie between two preemptions. */
#define LEAST_TEMPER 4
#define MOST_TEMPER 11

/* Points that count as a look at the clock (base.h): who loops through so many may be waiting for time to pass. */
#define POINTS_PER_LOOK 1024

static PyObject *insides; /* the set of files within which there are no points */

/* {=== The generator ===}
 *
 * splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): any seed will do, 0 included. */

static uint64_t next(struct wf_seed *seed)
{
    uint64_t z = seed->state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

size_t wf_seed_choose(struct wf_seed *seed, size_t count)
{
    return count == 1 ? 0 : (size_t)(next(seed) % count);
}

static uint32_t draw_countdown(struct wf_seed *seed)
{
    uint32_t least = UINT32_C(1) << wf_seed_choose(seed, seed->temper);

    return least + (uint32_t)wf_seed_choose(seed, least);
}

static void begin(struct wf_seed *seed, uint64_t number)
{
    *seed = (struct wf_seed){.on = true, .state = number};
    seed->temper = LEAST_TEMPER + (uint32_t)wf_seed_choose(seed, MOST_TEMPER - LEAST_TEMPER + 1);
    seed->countdown = draw_countdown(seed);
}

/* {=== Points ===} */

static bool may_give_way(const struct wf_worker *worker)
{
    return worker->passing == 0 && worker->current->no_preempt == 0 && worker->current->state == WF_RUNNING
           && !wf_tstate_in_destructor(wf_tstate_bound());
}

enum place { OUTSIDE, INSIDE, FROZEN };

/* Is its code in one of the files that are left alone?  Takes the reference, which may be NULL. */
static enum place place_of(PyFrameObject *frame)
{
    PyCodeObject *code = frame != NULL ? PyFrame_GetCode(frame) : NULL;
    enum place place = OUTSIDE;

    if (code != NULL && PySet_Contains(insides, code->co_filename) == 1)
        place = PyUnicode_READ_CHAR(code->co_filename, 0) == '<' ? FROZEN : INSIDE;
    Py_XDECREF(code);
    Py_XDECREF(frame);
    return place;
}

/* A call from outside is a point like any other; but not if it imports, since that depends on what others imported. */
static bool counts(PyFrameObject *frame, int what)
{
    enum place place = place_of((PyFrameObject *)Py_NewRef((PyObject *)frame));

    return place == OUTSIDE
           || (place == INSIDE && what == PyTrace_CALL && place_of(PyFrame_GetBack(frame)) == OUTSIDE);
}

static void point(struct wf_worker *worker, PyFrameObject *frame, int what)
{
    struct wf_seed *seed = &worker->seed;

    if (worker->live == 0 || !counts(frame, what))
        return;
    if (++seed->passed % POINTS_PER_LOOK == 0)
        wf_sched_pass_time();
    if (--seed->countdown > 0)
        return;
    seed->countdown = draw_countdown(seed);
    if (may_give_way(worker))
        wf_yield_after_look(worker);
}

/* The worker, if it has a seed. */
static struct wf_worker *seeded(void)
{
    struct wf_worker *worker = wf_this_worker;

    return worker != NULL && worker->seed.on ? worker : NULL;
}

static int on_call(PyObject *ignored, PyFrameObject *frame, int what, PyObject *arg)
{
    struct wf_worker *worker = seeded();

    (void)ignored;
    (void)arg;
    if (worker == NULL)
        return 0;
    if (what == PyTrace_CALL)
        worker->seed.frame = NULL; /* it may lie where another lay */
    if (what == PyTrace_CALL || what == PyTrace_C_RETURN || what == PyTrace_C_EXCEPTION)
        point(worker, frame, what);
    return 0;
}

/* Is it a line that comes before, or is, the last one in the same frame?  A jump after a call need not be seen. */
static bool has_jumped_back(struct wf_seed *seed, PyFrameObject *frame)
{
    int instruction = PyFrame_GetLasti(frame);
    bool back = seed->frame == frame && instruction <= seed->instruction;

    seed->frame = frame;
    seed->instruction = instruction;
    return back;
}

static int on_line(PyObject *ignored, PyFrameObject *frame, int what, PyObject *arg)
{
    struct wf_worker *worker = seeded();

    (void)ignored;
    (void)arg;
    if (worker != NULL && what == PyTrace_LINE && has_jumped_back(&worker->seed, frame))
        point(worker, frame, what);
    return 0;
}

void wf_seed_enter(void)
{
    wf_tstate_watch(on_call, on_line);
}

/* {=== What Python calls ===} */

PyDoc_STRVAR(start_doc,
"_seed_start(number, files, /)\n--\n\n"
"From now on the seed decides what runs on this OS thread.  The time-based preemption must be off.");

static PyObject *start(PyObject *module, PyObject *args)
{
    struct wf_worker *worker = wf_worker_get();
    unsigned long long number;
    PyObject *files;

    (void)module;
    if (worker == NULL || !PyArg_ParseTuple(args, "KO!:_seed_start", &number, &PyFrozenSet_Type, &files))
        return NULL;
    Py_XSETREF(insides, Py_NewRef(files));
    begin(&worker->seed, number);
    wf_seed_enter();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc,
"_seed_stop()\n--\n\nFirst come, first served again.");

static PyObject *stop(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = wf_worker_get();

    (void)module;
    (void)ignored;
    if (worker == NULL)
        return NULL;
    worker->seed.on = false;
    wf_tstate_unwatch(on_call, on_line);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(enter_doc,
"_seed_enter(frame, event, argument, /)\n--\n\n"
"For threading.setprofile: gives a thread that threading has started points of its own.");

static PyObject *enter(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    (void)args;
    (void)nargs;
    if (seeded() != NULL)
        wf_seed_enter();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_seed_start", start, METH_VARARGS, start_doc},
    {"_seed_stop", stop, METH_NOARGS, stop_doc},
    {"_seed_enter", (PyCFunction)(void (*)(void))enter, METH_FASTCALL, enter_doc},
    {NULL, NULL, 0, NULL},
};

int wf_seed_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
