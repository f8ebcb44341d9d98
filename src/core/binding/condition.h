/* condition.h - weft.Condition: threading's, with weft's own locks or any others inside. */
#ifndef WF_CONDITION_H
#define WF_CONDITION_H

#include <Python.h>

/* Adds the type to the module.  0, or -1 with an exception. */
int wf_condition_init(PyObject *module);

#endif
