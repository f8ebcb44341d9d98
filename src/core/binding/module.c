/* module.c - weft._core: puts the parts together, and takes them apart at fork and at exit. */
#include <Python.h>

#include "deadlock.h"
#include "greenthread.h"
#include "hook.h"
#include "offload.h"
#include "preempt.h"
#include "sched.h"
#include "snapshot.h"
#include "tstate.h"

PyDoc_STRVAR(finalize_doc,
"_finalize()\n--\n\n"
"The interpreter is about to be torn down: no green thread runs after this, hooks pass through.");

static PyObject *finalize(PyObject *module, PyObject *ignored)
{
    struct wf_worker *worker = wf_this_worker;

    (void)module;
    (void)ignored;
    wf_preempt_stop();
    if (worker != NULL)
        wf_worker_close(worker);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_finalize", finalize, METH_NOARGS, finalize_doc},
    {NULL, NULL, 0, NULL},
};

/* fork copies memory as it is: every lock is held by the forking thread meanwhile, and taken in the order in
 * which the code nests them. */
static void before_fork(void)
{
    wf_got_before_fork();
    wf_offload_before_fork();
    wf_sched_before_fork();
}

static void after_fork_parent(void)
{
    wf_sched_after_fork_parent();
    wf_offload_after_fork_parent();
    wf_got_after_fork();
}

static void after_fork_child(void)
{
    wf_sched_after_fork_child();
    wf_offload_after_fork_child();
    wf_semaphore_after_fork();
    wf_preempt_after_fork_child();
    wf_got_after_fork();
}

static int exec_module(PyObject *module)
{
    if (wf_tstate_init() < 0 || wf_green_init(module) < 0 || wf_hook_init(module) < 0
        || wf_preempt_init(module) < 0 || wf_snapshot_init(module) < 0 || wf_deadlock_init(module) < 0
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
