/* queue.h - weft.Queue, LifoQueue, PriorityQueue and SimpleQueue: the module queue's, without a lock inside. */
#ifndef WF_QUEUE_H
#define WF_QUEUE_H

#include <Python.h>

/* queue.Empty, queue.Full, and queue.ShutDown or, before 3.13, our own. */
extern PyObject *wf_empty, *wf_full, *wf_shut_down;

/* Adds the types and ShutDown to the module.  0, or -1 with an exception. */
int wf_queue_init(PyObject *module);

#endif
