/* run_queue.h - who may run now, in order: a ring of fibers.
 *
 * Room is reserved when a fiber is made (I2 of sched.h): to put one on the queue never fails.
 *
 * A long queue does not fit the first-level cache, and a switch leads to what was not touched for long: what the next
 * few need is fetched while others run.
 */
#ifndef WF_RUN_QUEUE_H
#define WF_RUN_QUEUE_H

#include "fiber.h"
#include "seed.h"
#include "vessel.h"

/* From this length on we fetch ahead. */
#define WF_PREFETCH_FROM 256

struct wf_run_queue {
    struct wf_fiber **ring; /* a power of two entries */
    size_t capacity, head, len;
};

/* Room for so many in all; false when memory is short. */
bool wf_run_queue_reserve(struct wf_run_queue *queue, size_t len);

/* Takes the seed's choice; never who has just yielded and stands last, unless he is alone. */
struct wf_fiber *wf_run_queue_choose(struct wf_run_queue *queue, struct wf_seed *seed, const struct wf_fiber *leaver);

static inline void wf_run_queue_push(struct wf_run_queue *queue, struct wf_fiber *fiber)
{
    wf_assert(queue->len < queue->capacity, "no room for a live fiber (I2)");
    queue->ring[(queue->head + queue->len++) & (queue->capacity - 1)] = fiber;
}

/* GCC takes a void function that only prefetches for one without effect, and drops its calls unless they are inlined. */
static inline __attribute__((always_inline)) void wf_fetch_lines(const void *address, int lines)
{
    for (int line = 0; line < lines; line++)
        __builtin_prefetch((const char *)address + line * 64);
}

/* A chain of three pointers leads to what a resumed fiber needs: fiber, vessel, stack pointer.  Each is followed one
 * step for a fiber nearer to its turn, so that no step waits for memory. */
static inline __attribute__((always_inline)) void wf_fetch_ahead(const struct wf_run_queue *queue)
{
    const size_t mask = queue->capacity - 1;
    const struct wf_fiber *third = queue->ring[(queue->head + 2) & mask];
    const struct wf_fiber *second = queue->ring[(queue->head + 1) & mask];

    wf_fetch_lines(queue->ring[(queue->head + 3) & mask], 2);
    if (third->vessel != NULL)
        wf_fetch_lines(third->vessel, 2);
    if (second->vessel != NULL) {
        wf_fetch_lines(second->vessel->context.sp, 10);
        wf_fetch_lines(second->vessel->stack.chunk_lo, 5);
        wf_fetch_lines(second->tstate, 5);
    }
}

/* Takes the first of a queue that is not empty. */
static inline struct wf_fiber *wf_run_queue_pop(struct wf_run_queue *queue)
{
    struct wf_fiber *fiber = queue->ring[queue->head];

    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->len--;
    if (queue->len > WF_PREFETCH_FROM)
        wf_fetch_ahead(queue);
    return fiber;
}

#endif
