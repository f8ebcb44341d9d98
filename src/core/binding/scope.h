/* scope.h - weft.CancelScope, the blocks of code that can be cancelled, and what makes them: timeout and its kin.
 *
 * In C because of preemption: between two bytecodes of an __exit__ written in Python, weft.Cancelled could be
 * raised, and what it was going to do would never be done.  For classes that must be written in Python
 * all the same there is weft._core.Guarded, whose __enter__ and __exit__ hold preemption off.
 */
#ifndef WF_SCOPE_H
#define WF_SCOPE_H

#include <Python.h>

/* Adds the types and the functions to the module.  0, or -1 with an exception. */
int wf_scope_init(PyObject *module);

#endif
