/* timer.c - a 4-ary heap that forgets lazily.
 *
 * The children of entry i are the entries 4i+1 .. 4i+4.  Four 24-byte children span two cache
 * lines or so, and the heap is half as high as a binary one.
 *
 * Why adding never fails.  Each forget leaves less than half of the heap forgotten, so fewer
 * entries than were live at that moment.  Only a forget adds to the dead; hence they always
 * number less than the most that were ever live, and twice the reservation is room enough.
 * Compacting at half is also what makes it cheap: a pass is paid for by the entries it removes.
 *
 * Invariants
 *   T1  No entry leaves before its parent: heap order by (deadline, token).
 *   T2  forgotten is the number of dead entries, as long as each owner who lets one die says
 *       so at once.  (WF_DEBUG checks.  Too low a count voids the reservation, nothing worse.)
 */
#include "timer.h"

#include <stdlib.h>

#define ARITY 4
#define CAPACITY_MIN 64

void wf_timer_init(struct wf_timer_heap *heap, wf_timer_is_live is_live)
{
    *heap = (struct wf_timer_heap){ .is_live = is_live, .next_ns = WF_NEVER };
}

void wf_timer_term(struct wf_timer_heap *heap)
{
    free(heap->entries);
    wf_timer_init(heap, heap->is_live);
}

bool wf_timer_reserve(struct wf_timer_heap *heap, size_t live)
{
    if (live <= heap->capacity / 2)
        return true;
    size_t capacity = heap->capacity ? heap->capacity : CAPACITY_MIN;
    while (capacity / 2 < live)
        if (__builtin_mul_overflow(capacity, 2, &capacity))
            return false;
    struct wf_timer *entries = reallocarray(heap->entries, capacity, sizeof *entries);
    if (!entries)
        return false;
    heap->entries = entries;
    heap->capacity = capacity;
    return true;
}

/* === Heap order ==================================================================== */

static bool before(const struct wf_timer *a, const struct wf_timer *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->token < b->token;
}

/* Which child of `parent` leaves first; an index >= len if it has none. */
static size_t first_child(const struct wf_timer_heap *heap, size_t parent)
{
    size_t first = parent * ARITY + 1, end = first + ARITY;
    if (end > heap->len)
        end = heap->len;
    for (size_t child = first + 1; child < end; child++)
        if (before(&heap->entries[child], &heap->entries[first]))
            first = child;
    return first;
}

/* Places `timer` between the hole and the root, moving the hole up. */
static void sift_up(struct wf_timer_heap *heap, size_t hole, struct wf_timer timer)
{
    while (hole > 0) {
        size_t parent = (hole - 1) / ARITY;
        if (!before(&timer, &heap->entries[parent]))
            break;
        heap->entries[hole] = heap->entries[parent];
        hole = parent;
    }
    heap->entries[hole] = timer;
}

/* Places `timer` between the hole and the leaves, moving the hole down. */
static void sift_down(struct wf_timer_heap *heap, size_t hole, struct wf_timer timer)
{
    size_t child;
    while ((child = first_child(heap, hole)) < heap->len &&
           before(&heap->entries[child], &timer)) {
        heap->entries[hole] = heap->entries[child];
        hole = child;
    }
    heap->entries[hole] = timer;
}

static void note_next(struct wf_timer_heap *heap)
{
    heap->next_ns = heap->len > 0 ? heap->entries[0].deadline_ns : WF_NEVER;
}

/* === Forgetting ==================================================================== */

/* Keeps the live entries only, and makes a heap of them again, from the last parent to the root. */
static void compact(struct wf_timer_heap *heap)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->len; i++)
        if (heap->is_live(&heap->entries[i]))
            heap->entries[kept++] = heap->entries[i];
    wf_check(heap->len - kept == heap->forgotten, "miscounted the forgotten timers");
    heap->len = kept;
    heap->forgotten = 0;
    for (size_t parents = (kept + ARITY - 2) / ARITY; parents-- > 0;)
        sift_down(heap, parents, heap->entries[parents]);
    note_next(heap);
}

void wf_timer_forget(struct wf_timer_heap *heap)
{
    heap->forgotten++;
    if (heap->forgotten * 2 >= heap->len)
        compact(heap);
}

/* A dead entry has left by itself. */
static void recall(struct wf_timer_heap *heap)
{
    wf_check(heap->forgotten > 0, "a timer died and nobody called wf_timer_forget");
    if (heap->forgotten > 0)
        heap->forgotten--;
}

/* === Adding and removing =========================================================== */

void wf_timer_add(struct wf_timer_heap *heap, int64_t deadline_ns, void *owner, uint64_t token)
{
    wf_assert(heap->len < heap->capacity, "more live timers than were reserved");
    sift_up(heap, heap->len++,
            (struct wf_timer){ .deadline_ns = deadline_ns, .token = token, .owner = owner });
    note_next(heap);
}

bool wf_timer_pop(struct wf_timer_heap *heap, int64_t now_ns, struct wf_timer *out)
{
    if (heap->len == 0 || heap->entries[0].deadline_ns > now_ns)
        return false;
    *out = heap->entries[0];
    struct wf_timer last = heap->entries[--heap->len];
    if (heap->len > 0)
        sift_down(heap, 0, last);
    note_next(heap);
    if (!heap->is_live(out))
        recall(heap);
    return true;
}

int64_t wf_timer_next_live(struct wf_timer_heap *heap)
{
    struct wf_timer dead;
    while (heap->len > 0 && !heap->is_live(&heap->entries[0]))
        wf_timer_pop(heap, WF_NEVER, &dead);
    return wf_timer_next(heap);
}
