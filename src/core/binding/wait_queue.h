/* wait_queue.h - green threads that wait for one of weft's own objects: a lock, a queue, a channel.
 *
 * Such an object has *wait queues*.  A green thread that must wait takes a *place* in one; the place lies on its stack.
 * Everything happens under the GIL, so no look at an object and no change of it is ever half done:
 *
 *     who waits                                  who makes it come true
 *     1 look: what is wanted cannot be had       1 if there is a place in the queue, serve the first:
 *     2 take a place                               it is given what it waits for, there and then
 *     3 park until served                        2 otherwise leave it in the object
 *     4 leave; what was given is ours
 *
 * To *serve* a place is to hand over: from then on the object counts it as gone.  So whoever finds himself served, though
 * his time was up or he was interrupted at the same moment, has it: he returns it, or gives it back to the object.
 *
 * A wait may have places in several queues at once (weft.select).  The first one to be served takes it out of all.
 *
 * Invariants
 *   W1  A place is in a queue only while its wait is unserved and its green thread is in wf_wait_park or about to be.
 *   W2  Queues and places change under the GIL only, and never around a call into Python or a Py_DECREF.
 *
 * In the child of a fork nobody waits, and the memory of places may be anybody's: a queue remembers the epoch in which
 * it was filled and is empty in any other.
 */
#ifndef WF_WAIT_QUEUE_H
#define WF_WAIT_QUEUE_H

#include "sched.h"

struct wf_wait_queue {
    struct wf_list places;
    unsigned epoch;
};

/* How a place was served. */
enum wf_served {
    WF_UNSERVED,
    WF_GIVEN,   /* with what it waited for */
    WF_TAKEN,   /* what it offered was taken */
    WF_REFUSED, /* there is not going to be any: the queue was shut down, the channel closed */
};

struct wf_wait;

struct wf_place {
    struct wf_list link;
    struct wf_wait *wait;
    PyObject *value; /* given to who waits to receive, who owns it; or offered by who waits to send, who owns it until served */
    bool called;     /* lock.c: he was woken to see for himself, once */
};

struct wf_wait {
    struct wf_fiber *fiber;
    uint64_t park_id;
    struct wf_place *places;
    size_t count;
    struct wf_place *by; /* the place that was served */
    enum wf_served served;
};

/* What ended a park. */
enum wf_wait_end {
    WF_WAIT_SERVED,
    WF_WAIT_AGAIN,   /* nothing to speak of, or he was called: look, and park again */
    WF_WAIT_EXPIRED, /* the deadline has come */
    WF_WAIT_BROKEN,  /* a Python exception is set.  It may have been served meanwhile: ask wf_wait.served */
};

/* Changes in the child of a fork. */
extern unsigned wf_wait_epoch;

/* {=== Queues ===} */

static inline void wf_wait_queue_init(struct wf_wait_queue *queue)
{
    wf_list_init(&queue->places);
    queue->epoch = wf_wait_epoch;
}

/* The first place, or NULL. */
static inline struct wf_place *wf_wait_queue_first(struct wf_wait_queue *queue)
{
    if (wf_unlikely(queue->epoch != wf_wait_epoch))
        wf_wait_queue_init(queue);
    if (wf_list_empty(&queue->places))
        return NULL;
    return wf_container_of(queue->places.next, struct wf_place, link);
}

/* The first place that is none of this wait's, or NULL. */
static inline struct wf_place *wf_wait_queue_first_but(struct wf_wait_queue *queue, const struct wf_wait *own)
{
    struct wf_place *place = wf_wait_queue_first(queue);

    while (place != NULL && place->wait == own)
        place = place->link.next == &queue->places ? NULL : wf_container_of(place->link.next, struct wf_place, link);
    return place;
}

/* {=== The one who waits ===} */

/* Begins a wait of the running green thread, with `count` places that it takes next. */
static inline void wf_wait_begin(struct wf_wait *wait, struct wf_worker *worker, struct wf_place *places, size_t count)
{
    *wait = (struct wf_wait){.fiber = worker->current, .places = places, .count = count};
    for (size_t i = 0; i < count; i++) {
        places[i] = (struct wf_place){.wait = wait};
        wf_list_init(&places[i].link);
    }
}

/* Takes the last place in the queue. */
static inline void wf_place_take(struct wf_place *place, struct wf_wait_queue *queue)
{
    wf_check(place->wait->served == WF_UNSERVED && !wf_list_linked(&place->link), "a place is taken twice (W1)");
    (void)wf_wait_queue_first(queue); /* forgets those of before a fork */
    wf_list_push_back(&queue->places, &place->link);
}

/* Gives up all places that are still held. */
static inline void wf_wait_leave(struct wf_wait *wait)
{
    for (size_t i = 0; i < wait->count; i++)
        wf_list_remove(&wait->places[i].link);
}

/* Parks once, unless served already.  `object` is what dumps name.  The places stay where they are. */
enum wf_wait_end wf_wait_park(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                              const void *object, int64_t deadline_ns);

/* The same, the park having been begun and its id noted in wf_wait.park_id. */
enum wf_wait_end wf_wait_park_begun(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                                    const void *object, int64_t deadline_ns);

/* Parks until served, the deadline, or an exception, and leaves. */
enum wf_wait_end wf_wait_until_served(struct wf_worker *worker, struct wf_wait *wait, enum wf_reason reason,
                                      const void *object, int64_t deadline_ns);

/* {=== The one who makes it come true ===} */

static inline void wf_serve(struct wf_place *place, enum wf_served how)
{
    struct wf_wait *wait = place->wait;

    wf_assert(wait->served == WF_UNSERVED, "a place was served twice (W1)");
    wf_wait_leave(wait);
    wait->by = place;
    wait->served = how;
    wf_unpark(wait->fiber, wait->park_id);
}

/* Serves all. */
static inline void wf_serve_all(struct wf_wait_queue *queue, enum wf_served how)
{
    struct wf_place *place;

    while ((place = wf_wait_queue_first(queue)) != NULL)
        wf_serve(place, how);
}

/* {=== Identities ===} */

/* What threading.get_ident() returns in this green thread. */
static inline unsigned long wf_ident_of(const struct wf_fiber *fiber)
{
    return fiber->kind == WF_ROOT ? (unsigned long)fiber->worker->os_thread : wf_fiber_ident(fiber);
}

/* ... in the calling one, which may be an OS thread that weft has never met. */
static inline unsigned long wf_own_ident(void)
{
    const struct wf_worker *worker = wf_this_worker;
    return worker != NULL ? wf_ident_of(worker->current) : (unsigned long)pthread_self();
}

/* Has the calling OS thread yet to become a worker, since it is to wait?  That may run Python, so whatever was seen before
 * must be looked at again. */
static inline bool wf_wait_needs_worker(void)
{
    return wf_unlikely(wf_this_worker == NULL);
}

/* In the child of a fork nobody waits. */
void wf_wait_after_fork_child(void);

#endif
