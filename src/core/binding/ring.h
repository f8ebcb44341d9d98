/* ring.h - a row of Python objects with two ends, in one block of memory: what queues and channels keep.
 *
 * It owns its objects.  Nothing here calls Python or drops a reference: what is taken out is the caller's.
 */
#ifndef WF_RING_H
#define WF_RING_H

#include <Python.h>

struct wf_ring {
    PyObject **items; /* a power of two, or NULL */
    size_t capacity, head, len;
};

/* Makes room for one more; false when memory is short. */
static inline bool wf_ring_reserve(struct wf_ring *ring)
{
    size_t capacity = ring->capacity ? ring->capacity * 2 : 8;
    PyObject **items;

    if (ring->len < ring->capacity)
        return true;
    items = PyMem_New(PyObject *, capacity);
    if (items == NULL)
        return false;
    for (size_t i = 0; i < ring->len; i++)
        items[i] = ring->items[(ring->head + i) & (ring->capacity - 1)];
    PyMem_Free(ring->items);
    *ring = (struct wf_ring){items, capacity, 0, ring->len};
    return true;
}

/* Takes the reference over.  False when memory is short: then it does not. */
static inline bool wf_ring_push_back(struct wf_ring *ring, PyObject *item)
{
    if (!wf_ring_reserve(ring))
        return false;
    ring->items[(ring->head + ring->len++) & (ring->capacity - 1)] = item;
    return true;
}

static inline bool wf_ring_push_front(struct wf_ring *ring, PyObject *item)
{
    if (!wf_ring_reserve(ring))
        return false;
    ring->head = (ring->head - 1) & (ring->capacity - 1);
    ring->len++;
    ring->items[ring->head] = item;
    return true;
}

/* Of a ring that is not empty. */
static inline PyObject *wf_ring_pop_front(struct wf_ring *ring)
{
    PyObject *item = ring->items[ring->head];

    ring->head = (ring->head + 1) & (ring->capacity - 1);
    ring->len--;
    return item;
}

static inline PyObject *wf_ring_pop_back(struct wf_ring *ring)
{
    return ring->items[(ring->head + --ring->len) & (ring->capacity - 1)];
}

/* As a type's tp_traverse. */
static inline int wf_ring_traverse(struct wf_ring *ring, visitproc visit, void *arg)
{
    for (size_t i = 0; i < ring->len; i++)
        Py_VISIT(ring->items[(ring->head + i) & (ring->capacity - 1)]);
    return 0;
}

/* As a type's tp_clear: the ring is empty before the first destructor runs. */
static inline void wf_ring_clear(struct wf_ring *ring)
{
    struct wf_ring old = *ring;

    *ring = (struct wf_ring){NULL, 0, 0, 0};
    while (old.len > 0)
        Py_DECREF(wf_ring_pop_front(&old));
    PyMem_Free(old.items);
}

#endif
