/* run_queue.c - what the run queue needs seldom: more room, and a seed's choice.  run_queue.h has the idea. */
#include "run_queue.h"

#include <stdlib.h>

bool wf_run_queue_reserve(struct wf_run_queue *queue, size_t len)
{
    size_t capacity = queue->capacity ? queue->capacity : 64;
    struct wf_fiber **ring;

    if (len <= queue->capacity)
        return true;
    while (capacity < len)
        capacity *= 2;
    ring = malloc(capacity * sizeof *ring);
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < queue->len; i++)
        ring[i] = queue->ring[(queue->head + i) & (queue->capacity - 1)];
    free(queue->ring);
    queue->ring = ring;
    queue->capacity = capacity;
    queue->head = 0;
    return true;
}

/* The first one takes the place of the chosen. */
struct wf_fiber *wf_run_queue_choose(struct wf_run_queue *queue, struct wf_seed *seed, const struct wf_fiber *leaver)
{
    size_t mask = queue->capacity - 1;
    bool yielded = queue->len > 1 && queue->ring[(queue->head + queue->len - 1) & mask] == leaver;
    struct wf_fiber **chosen = &queue->ring[(queue->head + wf_seed_choose(seed, queue->len - yielded)) & mask];
    struct wf_fiber *fiber = *chosen;

    *chosen = queue->ring[queue->head];
    queue->ring[queue->head] = fiber;
    return wf_run_queue_pop(queue);
}
