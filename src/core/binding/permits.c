/* permits.c - who gets the next permit; permits.h has the idea. */
#include "permits.h"

/* {=== Memory that will be needed ===} */

/* A waiter's place lies on its stack; from BELOW bytes under it, so many lines hold the frames it returns through. */
#define BELOW (5 * 64)
#define FRAME_LINES 12
#define TSTATE_LINES 6
#define FIBER_LINES 3

static const struct wf_place *place_at(const struct wf_list *link)
{
    return wf_container_of(link, struct wf_place, link);
}

/* Where many wait, their stacks do not fit the cache.  Each is followed one step for a waiter nearer to his turn, so that
 * no step waits for memory.  With a thousand it makes a turn a quarter cheaper; with few it does nothing. */
static inline __attribute__((always_inline)) void fetch_ahead(const struct wf_permits *permits,
                                                              const struct wf_place *first)
{
    const struct wf_list *end = &permits->waits.places, *second = first->link.next, *third = second->next;

    if (second == end || third == end)
        return;
    wf_fetch_lines((const char *)place_at(third) - BELOW, FRAME_LINES);
    wf_fetch_lines(place_at(second)->wait->fiber, FIBER_LINES);
    wf_fetch_lines(first->wait->fiber->tstate, TSTATE_LINES);
}

/* {=== Passing on ===} */

bool wf_permits_pass(struct wf_permits *permits)
{
    struct wf_place *first = wf_wait_queue_first(&permits->waits);
    struct wf_wait *wait = first->wait;

    fetch_ahead(permits, first);
    if (first->called || wait->fiber->worker == wf_this_worker) {
        wf_serve(first, WF_GIVEN);
        return true;
    }
    permits->free++;
    first->called = true;
    wf_unpark(wait->fiber, wait->park_id);
    return false;
}

/* Those who wait get what is free. */
static void pass_all(struct wf_permits *permits)
{
    while (permits->free > 0 && wf_wait_queue_first(&permits->waits) != NULL) {
        permits->free--;
        if (!wf_permits_pass(permits))
            return; /* he will look */
    }
}

void wf_permits_settle(struct wf_permits *permits, const struct wf_place *place)
{
    if (wf_unlikely(place->called))
        pass_all(permits);
}

void wf_permits_change(struct wf_permits *permits, Py_ssize_t change)
{
    permits->free += change;
    pass_all(permits);
}

static int outcome(const struct wf_wait *wait, enum wf_wait_end end, bool taken)
{
    static const int served[] = {[WF_GIVEN] = 1, [WF_REFUSED] = WF_PERMIT_REFUSED, [WF_TAKEN] = WF_PERMIT_TAKEN};

    if (end == WF_WAIT_BROKEN)
        return -1;
    return end == WF_WAIT_SERVED ? served[wait->served] : taken;
}

int wf_permits_wait(struct wf_permits *permits, enum wf_reason reason, const void *object, int64_t deadline_ns,
                    PyObject **value)
{
    PyObject *offered = value == NULL ? NULL : *value;
    struct wf_worker *worker = wf_worker_get();
    struct wf_place place;
    struct wf_wait wait;
    enum wf_wait_end end;
    bool taken;

    if (worker == NULL)
        return -1;
    if (wf_permits_take(permits))
        return 1; /* since we have become a worker */
    wf_wait_begin(&wait, worker, &place, 1);
    place.value = offered;
    wf_place_take(&place, &permits->waits);
    do {
        end = wf_wait_park(worker, &wait, reason, object, deadline_ns);
        taken = (end == WF_WAIT_AGAIN || end == WF_WAIT_EXPIRED) && wf_permits_take(permits);
    } while (end == WF_WAIT_AGAIN && !taken);
    wf_wait_leave(&wait);
    if (end == WF_WAIT_BROKEN && wait.served == WF_GIVEN && place.value == offered)
        wf_permits_give(permits);
    wf_permits_settle(permits, &place);
    if (value != NULL)
        *value = place.value;
    return outcome(&wait, end, taken);
}
