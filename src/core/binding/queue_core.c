/* queue_core.c - what a queue does; queue_core.h has the idea. */
#include "queue_core.h"

PyObject *wf_empty, *wf_full, *wf_shut_down;

static PyObject *raise(PyObject *exception)
{
    PyErr_SetNone(exception);
    return NULL;
}

/* May others than who waits for it put his item in, and take the one he waits for out? */
static bool hands_over(const struct wf_queue *self)
{
    return self->store.order != WF_PRIORITY;
}

struct wf_place *wf_queue_next_getter(struct wf_queue *self, const struct wf_wait *own)
{
    if (!hands_over(self) || self->items.free != 0)
        return NULL;
    return wf_wait_queue_first_but(&self->items.waits, own);
}

/* {=== put ===} */

/* Stores it, room being had. */
static PyObject *put_stored(struct wf_queue *self, PyObject *item)
{
    if (wf_store_put(&self->store, item) < 0) {
        wf_permits_give(&self->room);
        return NULL;
    }
    self->unfinished++;
    wf_permits_give(&self->items);
    Py_RETURN_NONE;
}

PyObject *wf_queue_put_after(struct wf_queue *self, PyObject *item, int got)
{
    if (got == WF_PERMIT_TAKEN) {
        wf_assert(hands_over(self), "items of a priority queue are put by who brings them");
        Py_RETURN_NONE;
    }
    if (got == 1 && !self->is_shutdown)
        return put_stored(self, item);
    if (got == 1)
        wf_permits_give(&self->room);
    if (got >= 0)
        PyErr_SetNone(got == 0 ? wf_full : wf_shut_down);
    return NULL;
}

PyObject *wf_queue_put(struct wf_queue *self, PyObject *item, int64_t deadline_ns)
{
    struct wf_place *getter;
    PyObject *offered = item;
    int got = 0;

    if (wf_unlikely(self->is_shutdown))
        return raise(wf_shut_down);
    getter = wf_queue_next_getter(self, NULL);
    if (getter != NULL) {
        self->unfinished++;
        getter->value = Py_NewRef(item);
        wf_serve(getter, WF_GIVEN);
        Py_RETURN_NONE;
    }
    if (wf_permits_take(&self->room))
        return put_stored(self, item);
    if (deadline_ns != WF_AT_ONCE && wf_wait_needs_worker())
        return wf_worker_get() == NULL ? NULL : wf_queue_put(self, item, deadline_ns);
    if (deadline_ns != WF_AT_ONCE)
        got = wf_permits_wait(&self->room, WF_PARK_PUT, self, deadline_ns, &offered);
    return wf_queue_put_after(self, item, got);
}

/* {=== get ===} */

/* There is room for one more: for the first who waits to put, whose item is stored for him if that is how it is done. */
static void let_one_put(struct wf_queue *self)
{
    struct wf_place *putter = wf_wait_queue_first(&self->room.waits);
    int stored;

    if (putter == NULL || !hands_over(self) || self->room.free != 0) {
        wf_permits_give(&self->room);
        return;
    }
    stored = wf_store_put(&self->store, putter->value);
    wf_assert(stored == 0, "no memory where an item was just taken out");
    self->unfinished++;
    wf_serve(putter, WF_TAKEN);
    wf_permits_give(&self->items);
}

/* Fetches one, a permit being had. */
static PyObject *get_fetched(struct wf_queue *self)
{
    PyObject *item = wf_store_take(&self->store);

    if (item == NULL)
        wf_permits_give(&self->items);
    else
        let_one_put(self);
    return item;
}

void wf_queue_give_back(struct wf_queue *self, PyObject *item)
{
    struct wf_place *getter = wf_queue_next_getter(self, NULL);

    if (getter != NULL) {
        getter->value = item;
        wf_serve(getter, WF_GIVEN);
    } else if (wf_store_return(&self->store, item)) {
        self->room.free--;
        wf_permits_give(&self->items);
    } else {
        PyErr_NoMemory();
        Py_DECREF(item);
    }
}

PyObject *wf_queue_get_after(struct wf_queue *self, PyObject *item, int got)
{
    if (got == 1)
        return item != NULL ? item : get_fetched(self);
    if (item != NULL)
        wf_queue_give_back(self, item);
    if (got >= 0)
        PyErr_SetNone(got == 0 ? wf_empty : wf_shut_down);
    return NULL;
}

PyObject *wf_queue_get(struct wf_queue *self, int64_t deadline_ns)
{
    PyObject *item = NULL;
    int got;

    if (wf_permits_take(&self->items))
        return get_fetched(self);
    if (self->is_shutdown)
        return raise(wf_shut_down);
    if (deadline_ns == WF_AT_ONCE)
        return raise(wf_empty);
    if (wf_wait_needs_worker())
        return wf_worker_get() == NULL ? NULL : wf_queue_get(self, deadline_ns);
    got = wf_permits_wait(&self->items, WF_PARK_GET, self, deadline_ns, &item);
    return wf_queue_get_after(self, item, got);
}

/* {=== Tasks, size and the end ===} */

void wf_queue_tasks_done(struct wf_queue *self, Py_ssize_t count)
{
    self->unfinished = self->unfinished > count ? self->unfinished - count : 0;
    if (self->unfinished == 0)
        wf_serve_all(&self->joiners, WF_GIVEN);
}

/* Drops what nobody has been promised.  A destructor may do anything: nothing is half done when it runs. */
static int drop_items(struct wf_queue *self)
{
    Py_ssize_t count = self->items.free;

    self->items.free = 0;
    while (count-- > 0) {
        PyObject *item;
        if (wf_store_lock(&self->store) < 0)
            return -1;
        item = wf_store_take_spare(&self->store);
        wf_store_unlock(&self->store);
        wf_assert(item != NULL, "an item that nobody was promised is not in the store (Q1)");
        wf_permits_give(&self->room);
        wf_queue_tasks_done(self, 1);
        Py_DECREF(item);
    }
    return 0;
}

int wf_queue_shutdown(struct wf_queue *self, bool immediate)
{
    self->is_shutdown = true;
    wf_serve_all(&self->room.waits, WF_REFUSED);
    if (immediate && drop_items(self) < 0)
        return -1;
    if (self->items.free == 0)
        wf_serve_all(&self->items.waits, WF_REFUSED);
    return 0;
}

/* So much room has a queue without a limit; sums of a few of these do not overflow. */
#define ROOM_FOR_ALL (PY_SSIZE_T_MAX / 4)

static Py_ssize_t room_for(Py_ssize_t maxsize)
{
    return maxsize > 0 && maxsize < ROOM_FOR_ALL ? maxsize : ROOM_FOR_ALL;
}

void wf_queue_resize(struct wf_queue *self, Py_ssize_t maxsize)
{
    Py_ssize_t more = room_for(maxsize) - room_for(self->maxsize);

    self->maxsize = maxsize;
    wf_permits_change(&self->room, more);
}

int wf_queue_init_empty(struct wf_queue *self, enum wf_order order)
{
    wf_permits_init(&self->items, 0);
    wf_permits_init(&self->room, ROOM_FOR_ALL);
    wf_wait_queue_init(&self->joiners);
    return wf_store_init(&self->store, order);
}
