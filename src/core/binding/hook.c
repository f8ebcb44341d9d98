/* hook.c - switches all hooks on and off, and tells about them; hook.h has the rules they follow.
 *
 * Two degrees: the first spawn switches the hooks on, so that what a green thread calls parks;
 * install() makes CPython's threads green as well.  uninstall() undoes both, and refuses while green threads are
 * alive, because they would lose their identity and block their OS thread.
 */
#include "hook.h"

#include "carry.h"
#include "clock.h"
#include "datastack.h"
#include "errqueue.h"
#include "offload.h"
#include "overflow.h"
#include "preempt.h"

#include <dlfcn.h>
#include <string.h>

static const struct wf_hook_family *const families[] = {
    &wf_hooks_socket, &wf_hooks_connection, &wf_hooks_file, &wf_hooks_disk, &wf_hooks_splice,
    &wf_hooks_descriptor, &wf_hooks_open, &wf_hooks_lockfile, &wf_hooks_queue, &wf_hooks_poll,
    &wf_hooks_time, &wf_hooks_process, &wf_hooks_resolve, &wf_hooks_signal, &wf_hooks_sigwait,
    &wf_hooks_thread, &wf_hooks_join, &wf_hooks_once, &wf_hooks_semaphore, &wf_hooks_mutex,
    &wf_hooks_rwlock, &wf_hooks_condition, &wf_hooks_errqueue, &wf_hooks_preempt, &wf_hooks_lookup,
    &wf_hooks_thread_local, &wf_hooks_carry,
};
#define FAMILIES (sizeof families / sizeof *families)
#define MOST_HOOKS 240

static struct wf_hook table[MOST_HOOKS];
static size_t table_len;
static bool installed;
static const void *python_base; /* load address of the object that contains CPython */

bool wf_hook_in_python(const void *address)
{
    Dl_info info;
    return dladdr(address, &info) != 0 && info.dli_fbase == python_base;
}

static void append(const struct wf_hook_family *family)
{
    wf_assert(table_len + family->count <= MOST_HOOKS, "more hooks than MOST_HOOKS");
    memcpy(table + table_len, family->hooks, family->count * sizeof *table);
    table_len += family->count;
}

static void collect_table(void)
{
    Dl_info info;

    if (table_len > 0)
        return;
    for (size_t i = 0; i < FAMILIES; i++)
        append(families[i]);
    wf_got_resolve(table, table_len);
    if (dladdr((void *)PyEval_SaveThread, &info) != 0)
        python_base = info.dli_fbase;
}

/* With greenlet, say, two green threads of one OS thread would use each other's C stacks (docs/design/0013). */
int wf_hook_refuse_unkept(void)
{
    const char *unkept = wf_got_report().unkept;

    if (unkept == NULL)
        return 0;
    PyErr_Format(PyExc_RuntimeError,
                 "%s cannot be used with weft: each green thread must have its own of the library's "
                 "thread-local variables, and this build hides them; install another build of it",
                 unkept);
    return -1;
}

const struct wf_hook *wf_hook_table(size_t *count)
{
    *count = table_len;
    return table;
}

int wf_hook_ensure(void)
{
    const char *error;

    wf_overflow_watch();
    if (wf_likely(installed)) {
        wf_preempt_ensure();
        return 0;
    }
    collect_table();
    if (wf_got_install(table, table_len, (void *)PyEval_SaveThread, &error) < 0) {
        PyErr_Format(PyExc_RuntimeError, "weft could not hook libc: %s", error);
        return -1;
    }
    if (wf_hook_refuse_unkept() < 0) {
        wf_got_uninstall();
        return -1;
    }
    installed = true;
    wf_signal_wrap_all();
    wf_datastack_lend();
    wf_errqueue_look();
    wf_preempt_ensure();
    return 0;
}

int wf_hook_add(const struct wf_hook_family *family)
{
    const char *error;

    for (size_t i = 0; i < table_len; i++)
        if (table[i].hook == family->hooks[0].hook)
            return 0;
    append(family);
    wf_got_resolve(table, table_len);
    if (!installed || wf_got_extend(table_len, &error) == 0)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "weft could not hook more of libc: %s", error);
    return -1;
}

/* {=== What Python calls ===} */

PyDoc_STRVAR(install_doc,
"install()\n--\n\n"
"Make threading.Thread, and everything built on it, start green threads from now on.\n\n"
"Threads that exist already stay OS threads.  Calling it again does nothing.  Does not park.");

static PyObject *install(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (wf_worker_get() == NULL || wf_hook_ensure() < 0 || wf_thread_learn() < 0)
        return NULL;
    wf_thread_set_mode(WF_THREADS_GREEN);
    Py_RETURN_NONE;
}

static int is_alive(struct wf_fiber *fiber, void *count)
{
    if (wf_fiber_is_living_green(fiber))
        ++*(size_t *)count;
    return 0;
}

static size_t count_alive(void)
{
    size_t count = 0;

    wf_fiber_each(is_alive, &count);
    return count;
}

PyDoc_STRVAR(uninstall_doc,
"uninstall()\n--\n\n"
"Undo install() and the hooks: libc is called as if weft had never been there.\n\n"
"RuntimeError while green threads are alive.  Does nothing if nothing is installed.");

static PyObject *uninstall(PyObject *module, PyObject *ignored)
{
    size_t alive = count_alive();

    (void)module;
    (void)ignored;
    if (!installed)
        Py_RETURN_NONE;
    if (alive > 0) {
        PyErr_Format(PyExc_RuntimeError,
                     "can't uninstall weft while %zu green thread%s alive "
                     "(weft.all_threads() lists them)", alive, alive == 1 ? " is" : "s are");
        return NULL;
    }
    wf_preempt_stop();
    wf_thread_set_mode(WF_THREADS_OS);
    wf_signal_unwrap_all();
    wf_got_uninstall();
    wf_clock_end(); /* nobody is left who waits for its time */
    installed = false;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(installed_doc,
"installed()\n--\n\nDoes threading.Thread start green threads?  Does not park.");

static PyObject *is_installed(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyBool_FromLong(installed && wf_thread_get_mode() == WF_THREADS_GREEN);
}

PyDoc_STRVAR(want_os_threads_doc,
"_want_os_threads(change, /)\n--\n\n"
"Adds to the running green thread's count of reasons for the threads it makes to be OS threads.");

static PyObject *want_os_threads(PyObject *module, PyObject *change)
{
    (void)module;
    return wf_add_reason(change, offsetof(struct wf_fiber, os_threads));
}

PyDoc_STRVAR(count_threads_doc,
"_count_threads()\n--\n\nCount the OS threads CPython makes from now on; makes nothing green.");

static PyObject *count_threads(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (wf_hook_ensure() < 0)
        return NULL;
    wf_thread_set_mode(WF_THREADS_COUNTED);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(thread_counts_doc,
"_thread_counts()\n--\n\n"
"(started, alive, most alive at once): OS threads made by CPython since install() or\n"
"_count_threads(), and by weft for calls that can only block.");

static PyObject *thread_counts(PyObject *module, PyObject *ignored)
{
    struct wf_thread_counts counts = wf_thread_counts();
    struct wf_thread_counts helpers = wf_offload_state().threads;
    struct wf_thread_counts carriers = wf_carriers().threads;

    (void)module;
    (void)ignored;
    counts.started += helpers.started + carriers.started;
    counts.alive += helpers.alive + carriers.alive;
    counts.peak_alive += helpers.peak_alive + carriers.peak_alive;
    return Py_BuildValue("nnn", (Py_ssize_t)counts.started, (Py_ssize_t)counts.alive,
                         (Py_ssize_t)counts.peak_alive);
}

/* {=== statistics ===} */

static PyStructSequence_Field statistics_fields[] = {
    {"started", "green threads started so far"},
    {"alive", "green threads alive now"},
    {"peak_alive", "most green threads alive at once on one OS thread, summed over OS threads"},
    {"runnable", "green threads waiting for their turn"},
    {"switches", "switches from one green thread to another"},
    {"parks", "times a green thread parked"},
    {"polls", "times a reactor was asked for events"},
    {"offloads", "calls that ran on a helper OS thread, and regions of C code that did"},
    {"os_threads", "OS threads that have a scheduler"},
    {"hooked_symbols", "entries of libc's symbol table that lead to a hook"},
    {"hooked_slots", "call slots in loaded objects that lead to a hook"},
    {"hooked_objects", "loaded objects with at least one such slot"},
    {NULL, NULL},
};

static PyStructSequence_Desc statistics_desc = {
    .name = "weft.Statistics",
    .doc = "What the schedulers of this process have done so far.",
    .fields = statistics_fields,
    .n_in_sequence = 12,
};

static PyTypeObject *statistics_type;

struct totals {
    uint64_t started, switches, parks, polls;
    size_t live, peak_live, runnable, workers;
};

static void add_worker(struct wf_worker *worker, void *arg)
{
    struct totals *totals = arg;

    totals->started += worker->started;
    totals->switches += worker->switches;
    totals->parks += worker->parks;
    totals->polls += worker->polls;
    totals->live += worker->live;
    totals->peak_live += worker->peak_live;
    totals->runnable += worker->runq.len;
    totals->workers++;
}

PyDoc_STRVAR(statistics_doc,
"statistics()\n--\n\nA weft.Statistics with what the schedulers have done so far.  Does not park.");

static PyObject *statistics(PyObject *module, PyObject *ignored)
{
    struct totals totals = {0};
    struct wf_got_report report = wf_got_report();
    PyObject *result = PyStructSequence_New(statistics_type);

    (void)module;
    (void)ignored;
    if (result == NULL)
        return NULL;
    wf_worker_each(add_worker, &totals);
    uint64_t values[] = {
        totals.started,     totals.live,    totals.peak_live, totals.runnable,
        totals.switches,    totals.parks,   totals.polls,     wf_offload_state().count + wf_carriers().count,
        totals.workers,     report.symbols, report.slots,     report.objects,
    };
    for (Py_ssize_t i = 0; i < statistics_desc.n_in_sequence; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value == NULL) {
            Py_DECREF(result);
            return NULL;
        }
        PyStructSequence_SetItem(result, i, value);
    }
    return result;
}

static PyMethodDef functions[] = {
    {"install", install, METH_NOARGS, install_doc},
    {"uninstall", uninstall, METH_NOARGS, uninstall_doc},
    {"installed", is_installed, METH_NOARGS, installed_doc},
    {"statistics", statistics, METH_NOARGS, statistics_doc},
    {"_want_os_threads", want_os_threads, METH_O, want_os_threads_doc},
    {"_count_threads", count_threads, METH_NOARGS, count_threads_doc},
    {"_thread_counts", thread_counts, METH_NOARGS, thread_counts_doc},
    {NULL, NULL, 0, NULL},
};

int wf_hook_init(PyObject *module)
{
    collect_table();
    statistics_type = PyStructSequence_NewType(&statistics_desc);
    if (statistics_type == NULL || PyModule_AddFunctions(module, functions) < 0
        || wf_hooked_init(module) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Statistics", (PyObject *)statistics_type);
}
