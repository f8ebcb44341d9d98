/* module.c - weft._core: puts the parts together, and takes them apart at fork and at exit. */
#include <Python.h>

#include "bystander.h"
#include "carry.h"
#include "channel.h"
#include "clock.h"
#include "condition.h"
#include "coroutine.h"
#include "deadlock.h"
#include "errqueue.h"
#include "event.h"
#include "greenthread.h"
#include "hook.h"
#include "io.h"
#include "lock.h"
#include "offload.h"
#include "preempt.h"
#include "queue.h"
#include "sched.h"
#include "scope.h"
#include "seed.h"
#include "select.h"
#include "stall.h"
#include "snapshot.h"
#include "tstate.h"
#include "wait_queue.h"
#include "waitlist.h"
#include "yield.h"

PyDoc_STRVAR(finalize_doc,
"_finalize()\n--\n\n"
"The interpreter is about to be torn down: no green thread runs after this, hooks pass through.");

static PyObject *finalize(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = wf_this_worker;

    (void)module;
    (void)ignored;
    wf_preempt_stop();
    wf_clock_end();
    if (worker != NULL)
        wf_worker_close(worker);
    Py_RETURN_NONE;
}

/* {=== Limits ===} */

static PyStructSequence_Field limits_fields[] = {
    {"large_stack_size", "bytes of C stack of the first green threads of an OS thread"},
    {"large_stacks", "how many get that much"},
    {"small_stack_size", "bytes of C stack of the others"},
    {"cheap_guards", "whether guards are made without splitting mappings"},
    {NULL, NULL},
};

static PyStructSequence_Desc limits_desc = {
    .name = "weft._core.Limits",
    .fields = limits_fields,
    .n_in_sequence = 4,
};

static PyTypeObject *limits_type;

PyDoc_STRVAR(limits_doc,
"_limits()\n--\n\nWhat green threads get here.  Does not park.");

static PyObject *limits(PyObject *module, PyObject *ignored)
{
    PyObject *result = PyStructSequence_New(limits_type);
    PyObject *values[] = {
        PyLong_FromSize_t(WF_LARGE_STACK_SIZE),
        PyLong_FromSize_t(WF_LARGE_STACKS),
        PyLong_FromSize_t(WF_SMALL_STACK_SIZE),
        PyBool_FromLong(wf_stack_guards_are_cheap()),
    };

    (void)module;
    (void)ignored;
    for (Py_ssize_t i = 0; i < limits_desc.n_in_sequence; i++)
        if (result != NULL && values[i] != NULL)
            PyStructSequence_SetItem(result, i, values[i]);
        else
            Py_CLEAR(result);
    return result;
}

static PyMethodDef functions[] = {
    {"_limits", limits, METH_NOARGS, limits_doc},
    {"_finalize", finalize, METH_NOARGS, finalize_doc},
    {NULL, NULL, 0, NULL},
};

/* C libraries take their mutexes in handlers of their own, and those that came before us do it while we hold our
 * locks: nobody may park then. */
static void hold_hooks(int change)
{
    if (wf_this_worker != NULL)
        wf_this_worker->passing += (unsigned)change;
}

/* fork copies memory as it is: every lock is held by the forking thread meanwhile, and taken in the order in
 * which the code nests them. */
static void before_fork(void)
{
    hold_hooks(+1);
    wf_got_before_fork();
    wf_offload_before_fork();
    wf_carry_before_fork();
    wf_bystander_before_fork();
    wf_sched_before_fork();
}

static void after_fork_parent(void)
{
    wf_io_shared();
    wf_sched_after_fork_parent();
    wf_bystander_after_fork_parent();
    wf_carry_after_fork_parent();
    wf_offload_after_fork_parent();
    wf_got_after_fork();
    hold_hooks(-1);
}

static void after_fork_child(void)
{
    wf_io_shared();
    wf_sched_after_fork_child();
    wf_offload_after_fork_child();
    wf_carry_after_fork_child();
    wf_bystander_after_fork_child();
    wf_waitlist_after_fork();
    wf_wait_after_fork_child();
    wf_errqueue_after_fork();
    wf_preempt_after_fork_child();
    wf_got_after_fork();
    hold_hooks(-1);
}

static int exec_module(PyObject *module)
{
    limits_type = PyStructSequence_NewType(&limits_desc);
    if (limits_type == NULL || wf_tstate_init() < 0 || wf_scope_init(module) < 0
        || wf_green_init(module) < 0 || wf_yield_init(module) < 0 || wf_coroutine_init(module) < 0
        || wf_hook_init(module) < 0
        || wf_preempt_init(module) < 0 || wf_stall_init(module) < 0 || wf_snapshot_init(module) < 0
        || wf_deadlock_init(module) < 0 || wf_clock_init(module) < 0 || wf_seed_init(module) < 0
        || wf_lock_init(module) < 0 || wf_semaphore_init(module) < 0
        || wf_event_init(module) < 0 || wf_condition_init(module) < 0 || wf_queue_init(module) < 0
        || wf_channel_init(module) < 0 || wf_select_init(module) < 0
        || PyModule_AddFunctions(module, functions) < 0)
        return -1;
    if (pthread_atfork(before_fork, after_fork_parent, after_fork_child) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "weft._core",
    .m_doc = "The C core of weft: context switch, scheduler, reactor and libc hooks.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && exec_module(module) < 0)
        Py_CLEAR(module);
    return module;
}
