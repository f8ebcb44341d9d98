/* store.c - where a queue keeps its items; store.h has the idea. */
#include "store.h"

static PyObject *heappush, *heappop;

int wf_store_learn(void)
{
    PyObject *heapq = PyImport_ImportModule("heapq");

    if (heapq == NULL)
        return -1;
    heappush = PyObject_GetAttrString(heapq, "heappush");
    heappop = PyObject_GetAttrString(heapq, "heappop");
    Py_DECREF(heapq);
    return heappush == NULL || heappop == NULL ? -1 : 0;
}

int wf_store_init(struct wf_store *store, enum wf_order order)
{
    store->order = order;
    store->ring = (struct wf_ring){NULL, 0, 0, 0};
    store->heap = order == WF_PRIORITY ? PyList_New(0) : NULL;
    wf_permits_init(&store->sorting, 1);
    return order == WF_PRIORITY && store->heap == NULL ? -1 : 0;
}

/* {=== The heap ===} */

int wf_store_lock(struct wf_store *store)
{
    if (store->order != WF_PRIORITY)
        return 0;
    return wf_permits_acquire(&store->sorting, WF_PARK_ORDER, store, WF_NEVER) < 0 ? -1 : 0;
}

void wf_store_unlock(struct wf_store *store)
{
    if (store->order == WF_PRIORITY)
        wf_permits_give(&store->sorting);
}

static int heap_put(struct wf_store *store, PyObject *item)
{
    PyObject *done;

    if (wf_store_lock(store) < 0)
        return -1;
    done = PyObject_CallFunctionObjArgs(heappush, store->heap, item, NULL);
    wf_store_unlock(store);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *heap_take(struct wf_store *store)
{
    PyObject *item;

    if (wf_store_lock(store) < 0)
        return NULL;
    item = PyObject_CallOneArg(heappop, store->heap);
    wf_store_unlock(store);
    return item;
}

/* The last item of a heap is no other's parent: without it the rest is still a heap. */
static PyObject *heap_take_last(struct wf_store *store)
{
    Py_ssize_t last = PyList_GET_SIZE(store->heap) - 1;
    PyObject *item = Py_NewRef(PyList_GET_ITEM(store->heap, last));

    PyList_SetSlice(store->heap, last, last + 1, NULL);
    return item;
}

/* {=== All of them ===} */

int wf_store_put(struct wf_store *store, PyObject *item)
{
    if (store->order == WF_PRIORITY)
        return heap_put(store, item);
    if (!wf_ring_push_back(&store->ring, item)) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(item);
    return 0;
}

PyObject *wf_store_take(struct wf_store *store)
{
    switch (store->order) {
    case WF_LIFO: return wf_ring_pop_back(&store->ring);
    case WF_PRIORITY: return heap_take(store);
    default: return wf_ring_pop_front(&store->ring);
    }
}

bool wf_store_return(struct wf_store *store, PyObject *item)
{
    return store->order == WF_LIFO ? wf_ring_push_back(&store->ring, item) : wf_ring_push_front(&store->ring, item);
}

PyObject *wf_store_take_spare(struct wf_store *store)
{
    switch (store->order) {
    case WF_LIFO: return wf_ring_pop_front(&store->ring);
    case WF_PRIORITY: return heap_take_last(store);
    default: return wf_ring_pop_back(&store->ring);
    }
}

int wf_store_traverse(struct wf_store *store, visitproc visit, void *arg)
{
    Py_VISIT(store->heap);
    return wf_ring_traverse(&store->ring, visit, arg);
}

void wf_store_clear(struct wf_store *store)
{
    if (store->heap != NULL)
        PyList_SetSlice(store->heap, 0, PY_SSIZE_T_MAX, NULL);
    wf_ring_clear(&store->ring);
}

void wf_store_term(struct wf_store *store)
{
    wf_ring_clear(&store->ring);
    Py_CLEAR(store->heap);
}
