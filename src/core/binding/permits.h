/* permits.h - a number of permits: what a lock (one), a semaphore and a bounded queue are counted in.
 *
 * Whoever wants one takes it, or waits; whoever gives one back hands it to the first who waits.  Handing over is strict:
 * the permit is gone from the object before its new owner has run, so nobody overtakes and nobody is woken in
 * vain.  Between green threads of one OS thread that costs a switch per turn and no more.
 *
 * To a waiter of *another* OS thread a permit is handed over only the second time.  The first time he is *called*: the
 * permit is free meanwhile, and who gave it may well take it again, since the other OS thread needs tens of microseconds
 * to come.  Else two OS threads that take and release a lock in a loop would each time wait for the kernel.
 *
 *     P1  free > 0 and somebody waits  =>  the first who waits was called, and will look.
 *
 * docs/design/0019 has the reasons and the numbers.
 */
#ifndef WF_PERMITS_H
#define WF_PERMITS_H

#include "arguments.h"
#include "wait_queue.h"

struct wf_permits {
    Py_ssize_t free; /* negative: so many more are out than there should be (a queue was made smaller) */
    struct wf_wait_queue waits;
};

static inline void wf_permits_init(struct wf_permits *permits, Py_ssize_t free)
{
    permits->free = free;
    wf_wait_queue_init(&permits->waits);
}

/* Takes one if there is one. */
static inline bool wf_permits_take(struct wf_permits *permits)
{
    if (permits->free <= 0)
        return false;
    permits->free--;
    return true;
}

/* What wf_permits_give does once somebody waits.  False if he was called only. */
bool wf_permits_pass(struct wf_permits *permits);

/* Gives one back. */
static inline void wf_permits_give(struct wf_permits *permits)
{
    if (wf_unlikely(wf_wait_queue_first(&permits->waits) != NULL) && permits->free >= 0)
        wf_permits_pass(permits);
    else
        permits->free++;
}

/* There are so many more of them, or fewer. */
void wf_permits_change(struct wf_permits *permits, Py_ssize_t change);

/* Waits for one that could not be had at once: 1; 0: the deadline came first; -1 with an exception; or one of these. */
#define WF_PERMIT_REFUSED 2
#define WF_PERMIT_TAKEN 3
/* `value`: what is offered meanwhile, and then what was given in place of a permit, also with an exception.  Both NULL if
 * nobody does such things. */
int wf_permits_wait(struct wf_permits *permits, enum wf_reason reason, const void *object, int64_t deadline_ns,
                    PyObject **value);

/* A plain wait, for one who has not tried: 1, 0 or -1. */
static inline int wf_permits_acquire(struct wf_permits *permits, enum wf_reason reason, const void *object,
                                     int64_t deadline_ns)
{
    if (wf_likely(wf_permits_take(permits)))
        return 1;
    return deadline_ns == WF_AT_ONCE ? 0 : wf_permits_wait(permits, reason, object, deadline_ns, NULL);
}

/* A wait with a place in the queue is over: if it was called, the next one is to look in its stead. */
void wf_permits_settle(struct wf_permits *permits, const struct wf_place *place);

#endif
