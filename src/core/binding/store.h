/* store.h - where a queue keeps its items: a ring used from one end or both, or a heap.
 *
 * A ring is changed in one step.  A heap is not: comparing two items may run any Python, and park; so it has a lock of its
 * own, one permit, that is held while heapq works on it.
 */
#ifndef WF_STORE_H
#define WF_STORE_H

#include "permits.h"
#include "ring.h"

enum wf_order { WF_FIFO, WF_LIFO, WF_PRIORITY };

struct wf_store {
    enum wf_order order;
    struct wf_ring ring;
    PyObject *heap;            /* WF_PRIORITY: a list */
    struct wf_permits sorting; /* who may change it */
};

/* Learns of heapq.  0, or -1 with an exception. */
int wf_store_learn(void);

/* 0, or -1 with MemoryError. */
int wf_store_init(struct wf_store *store, enum wf_order order);

/* 0, or -1 with an exception: a comparison's, or what interrupted the wait for others' comparisons. */
int wf_store_put(struct wf_store *store, PyObject *item);

/* The item whose turn it is, of a store that is not empty; NULL with an exception, as above. */
PyObject *wf_store_take(struct wf_store *store);

/* Gives back what was to be the next, to a store that is no heap.  False when memory is short. */
bool wf_store_return(struct wf_store *store, PyObject *item);

/* Nobody but the caller changes it from now on: 0, or -1 with an exception. */
int wf_store_lock(struct wf_store *store);
void wf_store_unlock(struct wf_store *store);

/* Takes out, locked, one of those whose turn is last.  Never fails. */
PyObject *wf_store_take_spare(struct wf_store *store);

/* As the type's tp_traverse and tp_clear; and the end. */
int wf_store_traverse(struct wf_store *store, visitproc visit, void *arg);
void wf_store_clear(struct wf_store *store);
void wf_store_term(struct wf_store *store);

#endif
