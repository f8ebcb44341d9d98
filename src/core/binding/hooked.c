/* hooked.c - whose blocking calls park: what Python can set, and what it can ask.
 *
 * policy.h has the policies.  What is asked is for `weft doctor`: it is read off the loaded objects at that
 * moment, not off our record, so it also shows what went wrong.
 */
#include "hook.h"
#include "tstate.h"

#include <stdlib.h>
#include <string.h>

bool wf_got_gil_is_held(void)
{
    return wf_tstate_attached(wf_tstate_bound());
}

/* {=== Policies ===} */

/* Somebody's malloc may lock while got.c holds its lock: nothing that is called from there may park. */
static void passing(int change)
{
    if (wf_this_worker != NULL)
        wf_this_worker->passing += (unsigned)change;
}

PyDoc_STRVAR(set_policy_doc,
"set_policy(pattern, policy, /)\n--\n\n"
"Say what becomes of blocking calls made by the libraries whose file name matches `pattern`.\n\n"
"\"park\": they park the green thread (the default); \"release-only\": only those made with the\n"
"GIL released; \"exclude\": none, they block the OS thread; \"own-thread-locals\": they park, and\n"
"each green thread has thread-local variables of its own in the library; \"offload\": they park, and\n"
"what it computes for long with the GIL released, it computes on another OS thread.  Does not park.");

static PyObject *set_policy(PyObject *module, PyObject *args)
{
    const char *pattern, *text, *error = NULL;
    enum wf_policy policy;
    int status;

    (void)module;
    if (!PyArg_ParseTuple(args, "ss:set_policy", &pattern, &text))
        return NULL;
    if (!wf_policy_from_text(text, &policy)) {
        PyErr_Format(PyExc_ValueError,
                     "policy must be 'park', 'release-only', 'exclude', 'own-thread-locals' or 'offload', not '%s'",
                     text);
        return NULL;
    }
    if (*pattern == '\0' || strchr(pattern, '/') != NULL) {
        PyErr_SetString(PyExc_ValueError, "pattern must be for a file name, without a folder");
        return NULL;
    }
    passing(+1);
    status = wf_got_set_policy(pattern, policy, &error);
    passing(-1);
    if (status < 0) {
        PyErr_Format(PyExc_RuntimeError, "weft could not apply the policy: %s", error);
        return NULL;
    }
    if (policy == WF_POLICY_OWN_THREAD_LOCALS && wf_hook_refuse_unkept() < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(refuse_unkept_doc,
"_refuse_unkept()\n--\n\n"
"RuntimeError if a library is loaded that must have thread-local variables for each green thread\n"
"and cannot.");

static PyObject *refuse_unkept(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (wf_hook_refuse_unkept() < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* {=== What is hooked ===} */

/* While ld.so is locked no Python may run, so the answers are copied first. */
struct answer {
    struct answer *next;
    struct wf_got_object object;
    char path[];
};

struct answers {
    struct answer *first, **last;
    bool incomplete;
};

static void copy_answer(const struct wf_got_object *object, void *arg)
{
    struct answers *answers = arg;
    size_t size = strlen(object->path) + 1;
    struct answer *answer = malloc(sizeof *answer + size);

    if (answer == NULL) {
        answers->incomplete = true;
        return;
    }
    answer->next = NULL;
    answer->object = *object;
    memcpy(answer->path, object->path, size);
    *answers->last = answer;
    answers->last = &answer->next;
}

static void answers_free(struct answers *answers)
{
    struct answer *next;

    for (struct answer *answer = answers->first; answer != NULL; answer = next) {
        next = answer->next;
        free(answer);
    }
}

/* Appends, and drops, an element that may be NULL with an exception; 0 or -1. */
static int append(PyObject *list, PyObject *element)
{
    int result = element == NULL ? -1 : PyList_Append(list, element);

    Py_XDECREF(element);
    return result;
}

static PyObject *names_of(const struct wf_got_object *object)
{
    size_t count;
    const struct wf_hook *hooks = wf_hook_table(&count);
    PyObject *names = PyList_New(0);

    for (size_t i = 0; names != NULL && i < count; i++)
        if (object->hooked[i] && append(names, PyUnicode_FromString(hooks[i].name)) < 0)
            Py_CLEAR(names);
    return names;
}

static PyObject *answer_tuple(const struct answer *answer)
{
    const struct wf_got_object *object = &answer->object;
    PyObject *path = PyUnicode_DecodeFSDefault(answer->path);
    PyObject *policy = object->exempt != NULL
                           ? PyUnicode_FromFormat("exempt: %s", object->exempt)
                           : PyUnicode_FromString(wf_policy_text(object->policy));
    PyObject *names = names_of(object);

    if (path != NULL && policy != NULL && names != NULL)
        return Py_BuildValue("NnNN", path, (Py_ssize_t)object->slots, policy, names);
    Py_XDECREF(path);
    Py_XDECREF(policy);
    Py_XDECREF(names);
    return NULL;
}

PyDoc_STRVAR(hooked_objects_doc,
"_hooked_objects()\n--\n\n"
"[(path, slots that lead to a hook, policy, names of the hooks)] of the loaded objects.");

static PyObject *hooked_objects(PyObject *module, PyObject *ignored)
{
    struct answers answers = {.last = &answers.first};
    PyObject *list = PyList_New(0);

    (void)module;
    (void)ignored;
    if (list == NULL)
        return NULL;
    passing(+1);
    wf_got_describe(copy_answer, &answers);
    passing(-1);
    if (answers.incomplete) {
        PyErr_NoMemory();
        Py_CLEAR(list);
    }
    for (struct answer *answer = answers.first; list != NULL && answer != NULL;
         answer = answer->next)
        if (append(list, answer_tuple(answer)) < 0)
            Py_CLEAR(list);
    answers_free(&answers);
    return list;
}

PyDoc_STRVAR(hooked_symbols_doc,
"_hooked_symbols()\n--\n\n"
"[(name, \"all\", \"python\", \"library\", \"thread-local\" or \"offload\", is it in this libc?)] of the functions weft hooks.");

static PyObject *hooked_symbols(PyObject *module, PyObject *ignored)
{
    static const char *const classes[] = {
        [WF_HOOK_ALL] = "all", [WF_HOOK_PYTHON] = "python", [WF_HOOK_LIBRARY] = "library",
        [WF_HOOK_THREAD_LOCAL] = "thread-local", [WF_HOOK_OFFLOAD] = "offload"};
    size_t count;
    const struct wf_hook *hooks = wf_hook_table(&count);
    PyObject *list = PyList_New(0);

    (void)module;
    (void)ignored;
    for (size_t i = 0; list != NULL && i < count; i++)
        if (append(list, Py_BuildValue("ssO", hooks[i].name, classes[hooks[i].class],
                                       *hooks[i].real != NULL ? Py_True : Py_False)) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"set_policy", set_policy, METH_VARARGS, set_policy_doc},
    {"_refuse_unkept", refuse_unkept, METH_NOARGS, refuse_unkept_doc},
    {"_hooked_objects", hooked_objects, METH_NOARGS, hooked_objects_doc},
    {"_hooked_symbols", hooked_symbols, METH_NOARGS, hooked_symbols_doc},
    {NULL, NULL, 0, NULL},
};

int wf_hooked_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
