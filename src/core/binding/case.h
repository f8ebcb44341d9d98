/* case.h - what weft.select must know of an operation that may have to wait.
 *
 * A *case* of a select is a bound method, with an argument or none: `channel.recv`, `(channel.send, value)`,
 * `event.wait`.  Which operation it means is told by the C function inside, so a subclass that
 * overrides the method is not taken for what it is not.
 *
 * Each type registers its operations when the module is made.
 */
#ifndef WF_CASE_H
#define WF_CASE_H

#include "wait_queue.h"

struct wf_operation {
    void *function; /* the method's */
    bool has_argument;

    /* Could it be done at once, or fail at once? */
    bool (*ready)(PyObject *self);

    /* Does it at once, being ready: its result, or NULL with an exception. */
    PyObject *(*now)(PyObject *self, PyObject *argument);

    /* Where to wait until it can be. */
    struct wf_wait_queue *(*queue)(PyObject *self);

    /* Its result, once the place was served; or NULL with an exception. */
    PyObject *(*after)(PyObject *self, PyObject *argument, struct wf_place *place);

    /* Gives back what the place was served with.  NULL: nothing was. */
    void (*undo)(PyObject *self, struct wf_place *place);

    /* The place was left.  NULL: nothing to do. */
    void (*left)(PyObject *self, struct wf_place *place);
};

/* select.c: from now on methods with this function are cases.  `operation` is kept. */
void wf_case_register(const struct wf_operation *operation);

#endif
