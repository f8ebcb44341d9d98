/* queue_core.h - what a queue does: weft's queues as green threads use them, without Python's names for it.
 *
 * A queue counts twice: `items` are permits to take something out, `room` permits to put something in.
 *
 *     put   somebody waits to get: hand it to him
 *           otherwise take a room permit, or wait; store; give an items permit
 *     get   take an items permit, or wait; fetch; store what the first who waits to put has brought, or give a room permit
 *
 * So an item that somebody waits for, or room, changes hands without a switch in between, and two that pass items through
 * a queue of size 1 switch once for several items.
 *
 * With a PriorityQueue nothing is handed over but permits: its items must be compared, which may run any Python, park, and
 * raise, and that is to happen to who puts them.  Items and room are then *promised* before their new owner has run.
 *
 * A getter who is served while his time runs out returns what he was given, or gives it back: no item is lost with him.
 * qsize(), empty() and full() count what nobody has been promised: empty() is true exactly when get_nowait() would raise
 * Empty.
 *
 *     Q1  items.free + promised items  =  items in the store
 *     Q2  Somebody waits to get  =>  items.free is 0, or he was called (permits.h).
 *
 * Where they are kept, and in which order they come out, is the store's business (store.h).
 *
 * Rejected: a lock and three conditions, as the module queue has (twenty times the work); handing over permits always
 * (half the speed, as each item needs two switches).
 */
#ifndef WF_QUEUE_CORE_H
#define WF_QUEUE_CORE_H

#include "permits.h"
#include "store.h"

struct wf_queue {
    PyObject_HEAD
    struct wf_store store;
    bool is_shutdown;
    Py_ssize_t maxsize; /* <= 0: there is always room */
    Py_ssize_t unfinished;
    struct wf_permits items, room;
    struct wf_wait_queue joiners;
    PyObject *weakrefs;
};

/* queue.Empty, queue.Full, and queue.ShutDown or, before 3.13, our own. */
extern PyObject *wf_empty, *wf_full, *wf_shut_down;

/* Of zeroed memory: an empty queue without a limit.  0, or -1 with MemoryError. */
int wf_queue_init_empty(struct wf_queue *self, enum wf_order order);

/* There is room for `maxsize` items (0: any number); those who wait for it go on. */
void wf_queue_resize(struct wf_queue *self, Py_ssize_t maxsize);

/* Python's put and get, with a deadline.  WF_AT_ONCE: without waiting. */
PyObject *wf_queue_put(struct wf_queue *self, PyObject *item, int64_t deadline_ns);
PyObject *wf_queue_get(struct wf_queue *self, int64_t deadline_ns);

/* What is left to do after a wait that ended as wf_permits_wait tells.  get: `item` is what was handed over, or NULL. */
PyObject *wf_queue_put_after(struct wf_queue *self, PyObject *item, int got);
PyObject *wf_queue_get_after(struct wf_queue *self, PyObject *item, int got);

/* Who is to be handed the next item, as nothing is in the store that should go first; or NULL. */
struct wf_place *wf_queue_next_getter(struct wf_queue *self);

/* A getter cannot return what he was handed: it goes to the next, or is the first to come out, room or not. */
void wf_queue_give_back(struct wf_queue *self, PyObject *item);

/* So many tasks less. */
void wf_queue_tasks_done(struct wf_queue *self, Py_ssize_t count);

/* 0, or -1 with what interrupted a wait for others' comparisons. */
int wf_queue_shutdown(struct wf_queue *self, bool immediate);

#endif
