/* snapshot.h - what dumps and the deadlock detector see of all green threads.
 *
 * Taken from outside, without stopping anybody: with the GIL held, Python code stands still, but a green thread of
 * another OS thread may be on its way out of a system call.  What is told of such a one may be a
 * moment old.  Nothing is ever read that could be gone: memory of fibers and workers is not given back.
 */
#ifndef WF_SNAPSHOT_H
#define WF_SNAPSHOT_H

#include "fiber.h"

/* Notes which Python code, outside threading, is making a thread.  For fibers that CPython asks for. */
void wf_snapshot_note_start(struct wf_fiber *fiber);

/* What a fiber is parked for exactly, in terms of Python: idents, and the places of locks.  It must not run meanwhile. */
intptr_t wf_snapshot_awaited(const struct wf_fiber *fiber);

/* Adds _snapshot and its kin to the module.  0, or -1 with an exception. */
int wf_snapshot_init(PyObject *module);

#endif
