/* select.h - weft.select: the first of several operations that can be done. */
#ifndef WF_SELECT_H
#define WF_SELECT_H

#include <Python.h>

/* Adds select and its helper to the module.  0, or -1 with an exception. */
int wf_select_init(PyObject *module);

#endif
