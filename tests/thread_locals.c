/* thread_locals.c - an extension module that remembers things in thread-local variables, as greenlet
 * does.  test_greenlet.py compiles it under greenlet's name and another, and in two ways: with variables that
 * weft can keep apart, and not. */
#include <Python.h>

extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

static __thread long from_file = 100; /* in the template's file part */
static __thread long zero;            /* and beyond it */
static long ended;                    /* by every thread */

static void destroy(void *variable)
{
    ended += *(long *)variable;
}

static PyObject *next(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return Py_BuildValue("ll", ++from_file, ++zero);
}

static PyObject *at_end(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    __cxa_thread_atexit_impl(destroy, &zero, &__dso_handle);
    Py_RETURN_NONE;
}

static PyObject *get_ended(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromLong(ended);
}

static PyMethodDef functions[] = {
    {"next", next, METH_NOARGS, NULL},
    {"at_end", at_end, METH_NOARGS, NULL},
    {"ended", get_ended, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "thread_locals", .m_size = -1, .m_methods = functions};

static PyObject *make(void)
{
    return PyModule_Create(&definition);
}

/* Under whatever name it was compiled to. */
PyMODINIT_FUNC PyInit__greenlet(void)
{
    return make();
}

PyMODINIT_FUNC PyInit_remembering(void)
{
    return make();
}
