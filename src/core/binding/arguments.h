/* arguments.h - what methods that are called very often make of the arguments Python gives them.
 *
 * A method that is called a million times a second takes its arguments as a vector.  These functions bind such a vector to
 * names, and read "may I wait, and how long?" as threading and queue write it.
 */
#ifndef WF_ARGUMENTS_H
#define WF_ARGUMENTS_H

#include "api.h"

/* Deadlines are positive: no waiting at all. */
#define WF_AT_ONCE ((int64_t)0)

#define WF_MOST_PARAMETERS 3

struct wf_signature {
    const char *function;
    const char *parameters[WF_MOST_PARAMETERS];
    int count;
    int required; /* the first so many */
};

/* Binds the arguments to bound[0] ... bound[count - 1], NULL where there is none.  Borrowed.  0, or -1 with TypeError. */
int wf_bind(const struct wf_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
            PyObject **bound);

/* Binds the one argument of a signature that has no more, an int, to `count`, which stays as it is without one.  0, or -1
 * with an exception. */
int wf_bind_count(const struct wf_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                  Py_ssize_t *count);

/* For bound values `block` and `timeout` of the module queue: the deadline, or WF_AT_ONCE; -1 with an exception. */
int64_t wf_queue_deadline(PyObject *block, PyObject *timeout);

/* ... of a method `acquire` whose limit is None, as that of threading's semaphores. */
int64_t wf_semaphore_deadline(PyObject *blocking, PyObject *timeout);

/* ... of a method `acquire` whose limit is -1, as that of threading's locks. */
int64_t wf_lock_deadline(PyObject *blocking, PyObject *timeout);

#endif
