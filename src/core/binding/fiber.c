/* fiber.c - the memory and the identity of green threads; fiber.h has the idea.
 *
 * All fibers lie in one reserved range of addresses.  So "is this thread identifier one
 * of ours?" is two comparisons, which every pthread function that CPython hands
 * an identifier to must be able to ask, and memory is never given back, which is
 * what makes stale wakes harmless.
 */
#include "fiber.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Address space for four million at once; less is tried if an address-space limit refuses. */
#define MOST_FIBERS ((size_t)1 << 22)
#define LEAST_FIBERS ((size_t)1 << 12)

static struct wf_fiber *fibers;
static size_t capacity;
static _Atomic size_t made;
static _Atomic uint64_t serials;

/* Guards the workers' lists of spare fibers and all joiner lists.  Held for a few instructions at a time. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int wf_fiber_init(void)
{
    if (fibers != NULL)
        return 0;
    for (capacity = MOST_FIBERS; capacity >= LEAST_FIBERS; capacity /= 2) {
        void *memory = mmap(NULL, capacity * sizeof *fibers, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED) {
            fibers = memory;
            return 0;
        }
    }
    return -1;
}

static struct wf_fiber *fiber_take(struct wf_fiber **spare)
{
    struct wf_fiber *fiber;

    pthread_mutex_lock(&lock);
    fiber = *spare;
    if (fiber != NULL)
        *spare = fiber->next_free;
    else if (made < capacity)
        fiber = &fibers[made++];
    pthread_mutex_unlock(&lock);
    return fiber;
}

static void belongings_clear(struct wf_fiber *fiber)
{
    struct wf_belongings *belongings = wf_fiber_has(fiber);

    if (belongings != NULL)
        memset(belongings, 0, sizeof *belongings);
}

/* Its own code and, attached, who cancels it may both be the first to ask. */
struct wf_belongings *wf_fiber_belongings(struct wf_fiber *fiber)
{
    struct wf_belongings *has = wf_fiber_has(fiber), *made = NULL;

    if (has != NULL || (made = calloc(1, sizeof *made)) == NULL)
        return has;
    if (atomic_compare_exchange_strong(&fiber->belongings, &has, made))
        return made;
    free(made);
    return has;
}

struct wf_fiber *wf_fiber_new(struct wf_worker *worker, struct wf_fiber **spare, enum wf_kind kind)
{
    struct wf_fiber *fiber = fiber_take(spare);

    if (fiber == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    fiber->park_id = 0;
    fiber->worker = worker;
    fiber->vessel = NULL;
    fiber->tstate = NULL;
    fiber->start = NULL;
    fiber->arg = NULL;
    fiber->green = NULL;
    belongings_clear(fiber);
    atomic_store(&fiber->cancel_at_ns, WF_NEVER);
    fiber->shielded = false;
    atomic_store(&fiber->signalled, false);
    wf_list_init(&fiber->joiners);
    fiber->kind = kind;
    fiber->reason = WF_PARK_NONE;
    fiber->awaited = 0;
    fiber->attached = fiber->timed = fiber->joinable = fiber->daemon = false;
    fiber->no_preempt = fiber->blocking = fiber->os_threads = 0;
    fiber->serial = ++serials;
    return fiber;
}

void wf_fiber_free(struct wf_fiber *fiber, struct wf_fiber **spare)
{
    wf_assert(fiber->state == WF_FREE, "a fiber in use was freed");
    pthread_mutex_lock(&lock);
    wf_check(wf_list_empty(&fiber->joiners), "a fiber with joiners was freed");
    fiber->serial = 0;
    fiber->next_free = *spare;
    *spare = fiber;
    pthread_mutex_unlock(&lock);
}

struct wf_fiber *wf_fiber_from_ident(unsigned long ident)
{
    unsigned long lo = (unsigned long)fibers;
    if (fibers == NULL || ident < lo || ident >= (unsigned long)(fibers + capacity))
        return NULL;
    return (ident - lo) % sizeof *fibers == 0 ? (struct wf_fiber *)ident : NULL;
}

int wf_fiber_each(int (*visit)(struct wf_fiber *fiber, void *arg), void *arg)
{
    for (size_t i = 0; i < made; i++) {
        int result = fibers[i].serial != 0 ? visit(&fibers[i], arg) : 0;
        if (result != 0)
            return result;
    }
    return 0;
}

bool wf_fiber_add_joiner(struct wf_fiber *fiber, uint64_t serial, struct wf_joiner *joiner)
{
    bool alive;

    pthread_mutex_lock(&lock);
    alive = fiber->serial == serial && fiber->state != WF_DONE;
    if (alive)
        wf_list_push_back(&fiber->joiners, &joiner->link);
    else
        wf_list_init(&joiner->link);
    pthread_mutex_unlock(&lock);
    return alive;
}

void wf_fiber_remove_joiner(struct wf_joiner *joiner)
{
    pthread_mutex_lock(&lock);
    wf_list_remove(&joiner->link);
    pthread_mutex_unlock(&lock);
}

bool wf_fiber_over(struct wf_fiber *fiber, uint64_t serial)
{
    bool over;

    pthread_mutex_lock(&lock);
    over = fiber->serial != serial || fiber->state == WF_DONE;
    pthread_mutex_unlock(&lock);
    return over;
}

void wf_fiber_end(struct wf_fiber *fiber, void (*wake)(struct wf_fiber *fiber, uint64_t park_id))
{
    struct wf_list *node;

    pthread_mutex_lock(&lock);
    fiber->serial = 0; /* a joinable one is still found by its address */
    /* A joiner's memory is his stack: after he is unlinked it may be gone, so wake him under the lock. */
    while ((node = wf_list_pop_front(&fiber->joiners)) != NULL) {
        struct wf_joiner *joiner = wf_container_of(node, struct wf_joiner, link);
        wake(joiner->fiber, joiner->park_id);
    }
    pthread_mutex_unlock(&lock);
}

void wf_fiber_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void wf_fiber_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

void wf_fiber_orphan_all_but(struct wf_fiber *survivor, struct wf_fiber *root)
{
    for (size_t i = 0; i < made; i++) {
        struct wf_fiber *fiber = &fibers[i];
        if (fiber == survivor || fiber == root || fiber->serial == 0)
            continue;
        fiber->serial = 0;
        fiber->park_id = 0;
    }
    wf_list_init(&survivor->joiners);
    if (root != NULL)
        wf_list_init(&root->joiners);
}

static const struct {
    const char *name, *text;
} reasons[] = {
    [WF_PARK_NONE] = {"none", "not parked"},
    [WF_PARK_SLEEP] = {"sleep", "sleeping"},
    [WF_PARK_JOIN] = {"join", "waiting for a green thread to end"},
    [WF_PARK_READ] = {"read", "waiting to read"},
    [WF_PARK_WRITE] = {"write", "waiting to write"},
    [WF_PARK_CONNECT] = {"connect", "waiting for a connection"},
    [WF_PARK_POLL] = {"poll", "waiting for descriptors"},
    [WF_PARK_SEMAPHORE] = {"lock", "waiting for a lock"},
    [WF_PARK_MUTEX] = {"mutex", "waiting for a C library's mutex"},
    [WF_PARK_CONDITION] = {"c-condition", "waiting for a C library's condition variable"},
    [WF_PARK_RWLOCK] = {"rwlock", "waiting for a C library's read-write lock"},
    [WF_PARK_ONCE] = {"once", "waiting for what is done only once"},
    [WF_PARK_OS_THREAD] = {"os-thread", "waiting for an OS thread to end"},
    [WF_PARK_OFFLOAD] = {"offload", "waiting for a call on an OS thread"},
    [WF_PARK_CHILD] = {"child", "waiting for a child process"},
    [WF_PARK_SIGNAL] = {"signal", "waiting for a signal"},
    [WF_PARK_BACKOFF] = {"backoff", "waiting to try again"},
    [WF_PARK_QUIET] = {"quiet", "waiting for all others to be parked"},
    [WF_PARK_LOCK] = {"weft-lock", "waiting for a lock of weft's"},
    [WF_PARK_COUNT] = {"semaphore", "waiting for a semaphore"},
    [WF_PARK_NOTIFY] = {"condition", "waiting for a condition"},
    [WF_PARK_EVENT] = {"event", "waiting for an event"},
    [WF_PARK_GET] = {"get", "waiting for an item in a queue"},
    [WF_PARK_PUT] = {"put", "waiting for room in a queue"},
    [WF_PARK_TASKS] = {"tasks", "waiting for a queue to be worked off"},
    [WF_PARK_ORDER] = {"order", "waiting for a comparison in a priority queue"},
    [WF_PARK_RECEIVE] = {"receive", "waiting to receive from a channel"},
    [WF_PARK_SEND] = {"send", "waiting to send into a channel"},
    [WF_PARK_SELECT] = {"select", "waiting for the first of several things"},
};

const char *wf_reason_name(enum wf_reason reason)
{
    return reasons[reason].name;
}

const char *wf_reason_text(enum wf_reason reason)
{
    return reasons[reason].text;
}
