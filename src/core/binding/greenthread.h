/* greenthread.h - weft.GreenThread, the handle of a green thread, and what Python calls to make and wait for one.
 *
 * The handle outlives the fiber: it keeps the result or the exception.  The fiber holds a
 * reference to its handle while it is alive, so a green thread nobody holds goes on, as threads do.
 *
 * A handle is also made, when somebody asks, for fibers that weft.spawn did not make: those of
 * threading.Thread, and the root of an OS thread.
 */
#ifndef WF_GREENTHREAD_H
#define WF_GREENTHREAD_H

#include "fiber.h"

/* Adds the type and the functions to the module.  0, or -1 with an exception. */
int wf_green_init(PyObject *module);

/* What is known of a green thread's name, for who cannot make objects: `name`, or, if that is NULL, `number` and the
 * name of its function (NULL: it has none).  All borrowed. */
struct wf_green_known {
    PyObject *name, *function;
    unsigned number;
};
struct wf_green_known wf_green_known(const struct wf_green *green);

#endif
