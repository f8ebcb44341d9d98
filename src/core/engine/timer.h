/* timer.h - which deadline comes next.
 *
 * A 4-ary heap of (deadline, token) pairs kept inline, so that sifting touches the
 * array and nothing else: with 100,000 sleepers a heap of pointers to
 * timers would miss the cache at every level.
 *
 * Most timers are timeouts and most timeouts never happen, so cancelling
 * must cost nothing: the owner just forgets (his token no longer matches the
 * park it named) and says so with wf_timer_forget, which counts.  When half of the heap
 * is forgotten entries, the owner's `is_live` sorts them out in one pass.
 *
 * Entries with equal deadlines leave in the order of their tokens, which the scheduler
 * hands out in rising order: equal sleeps end first come, first served.
 */
#ifndef WF_TIMER_H
#define WF_TIMER_H

#include "base.h"

struct wf_timer {
    int64_t deadline_ns;
    uint64_t token; /* names the park that waits for it */
    void *owner;    /* the green thread; never dereferenced here */
};

typedef bool (*wf_timer_is_live)(const struct wf_timer *timer);

struct wf_timer_heap {
    struct wf_timer *entries;
    size_t len, capacity;
    size_t forgotten; /* how many of len are known to be dead */
    int64_t next_ns;  /* what wf_timer_next says */
    wf_timer_is_live is_live;
};

void wf_timer_init(struct wf_timer_heap *heap, wf_timer_is_live is_live);
void wf_timer_term(struct wf_timer_heap *heap);

/* Makes room so that `live` unforgotten entries can be added without
 * allocating.  False when memory is short; the heap is then as before. */
bool wf_timer_reserve(struct wf_timer_heap *heap, size_t live);

/* Never fails, given the reservation. */
void wf_timer_add(struct wf_timer_heap *heap, int64_t deadline_ns, void *owner, uint64_t token);

/* One entry, still in the heap, has died. */
void wf_timer_forget(struct wf_timer_heap *heap);

/* The earliest deadline, or WF_NEVER.  It may be that of a dead entry: too early, never too late.
 * Another OS thread may ask; it is told how it was a moment ago. */
static inline int64_t wf_timer_next(const struct wf_timer_heap *heap)
{
    return heap->next_ns;
}

/* The earliest deadline of a live entry, or WF_NEVER.  Removes the dead ones before it. */
int64_t wf_timer_next_live(struct wf_timer_heap *heap);

/* Removes the earliest entry if its deadline is <= now.  The caller checks
 * whether the entry is live; if it is not, it counts as one forgotten entry less. */
bool wf_timer_pop(struct wf_timer_heap *heap, int64_t now_ns, struct wf_timer *out);

#endif
