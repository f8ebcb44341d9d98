/* tstate_frame.h - how CPython keeps the frames of Python code, for the files tstate*.c alone.
 *
 * Its internal headers, and the three places where what they say differs between versions.
 * They are meant for CPython's own flags, not for ours: some of their functions do not use what they are given.
 */
#ifndef WF_TSTATE_FRAME_H
#define WF_TSTATE_FRAME_H

#define Py_BUILD_CORE 1
#include <Python.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "internal/pycore_frame.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe.h"
#include "internal/pycore_tstate.h"
#endif
#pragma GCC diagnostic pop
#undef Py_BUILD_CORE

#include <stdbool.h>
#include <stddef.h>

/* The innermost frame of a thread. */
#if PY_VERSION_HEX < 0x030D0000
#define CURRENT_FRAME(tstate) ((tstate)->cframe->current_frame)
#else
#define CURRENT_FRAME(tstate) ((tstate)->current_frame)
#endif

/* The object in a slot of a frame; borrowed.  From 3.14 on slots have marks in their lowest bits, and may hold a number that
 * is no object: NULL. */
#if PY_VERSION_HEX < 0x030E0000
static inline PyObject *wf_object_in(PyObject *slot)
{
    return slot;
}
#else
static inline PyObject *wf_object_in(_PyStackRef slot)
{
    return PyStackRef_IsTaggedInt(slot) ? NULL : PyStackRef_AsPyObjectBorrow(slot);
}
#endif

/* The code that a frame runs, or whatever else CPython has put there; borrowed. */
static inline PyObject *wf_frame_code(const struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX < 0x030D0000
    return (PyObject *)frame->f_code;
#else
    return wf_object_in(frame->f_executable);
#endif
}

/* Is it one that CPython puts between Python code and the C code that called it (since 3.12)? */
static inline bool wf_frame_is_of_c(const struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030E0000
    return frame->owner >= FRAME_OWNED_BY_INTERPRETER;
#elif PY_VERSION_HEX >= 0x030C0000
    return frame->owner == FRAME_OWNED_BY_CSTACK;
#else
    (void)frame;
    return false;
#endif
}

#endif
