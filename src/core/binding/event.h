/* event.h - weft.Event, weft.Semaphore and weft.BoundedSemaphore: threading's, without a lock inside. */
#ifndef WF_EVENT_H
#define WF_EVENT_H

#include <Python.h>

/* Add the types to the module.  0, or -1 with an exception. */
int wf_event_init(PyObject *module);
int wf_semaphore_init(PyObject *module);

#endif
