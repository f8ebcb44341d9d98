/* yield.h - weft.yield_now and weft.sleep. */
#ifndef WF_YIELD_H
#define WF_YIELD_H

#include <Python.h>

/* Adds the functions to the module.  0, or -1 with an exception. */
int wf_yield_init(PyObject *module);

#endif
