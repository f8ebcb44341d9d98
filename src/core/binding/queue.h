/* queue.h - weft.Queue, LifoQueue, PriorityQueue and SimpleQueue: the module queue's, without a lock inside. */
#ifndef WF_QUEUE_H
#define WF_QUEUE_H

#include <Python.h>

/* Adds the types and ShutDown to the module.  0, or -1 with an exception. */
int wf_queue_init(PyObject *module);

#endif
