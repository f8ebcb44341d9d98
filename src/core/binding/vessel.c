/* vessel.c - vessels made, pooled and let go of; vessel.h has the idea. */
#include "vessel.h"

#include "tstate.h"

#include <errno.h>
#include <string.h>

/* Idle vessels are kept for what was alive at once lately, and some more; the others are let go of so many at a time
 * that nobody who becomes runnable meanwhile waits long (each takes about 1.5 us). */
#define KEEP_VESSELS 64
#define TRIM_EVERY_NS WF_NS_PER_S
#define TRIM_AT_ONCE 1000
#define TRIM_PAUSE_NS (5 * WF_NS_PER_MS)

void wf_vessels_init(struct wf_vessels *vessels, void (*main)(void *vessel))
{
    memset(vessels, 0, sizeof *vessels);
    vessels->main = main;
    wf_stack_pool_init(&vessels->pools[WF_POOL_LARGE].stacks, WF_LARGE_STACK_SIZE, 128);
    wf_stack_pool_init(&vessels->pools[WF_POOL_SMALL].stacks, WF_SMALL_STACK_SIZE, 1024);
    wf_stack_pool_init(&vessels->pools[WF_POOL_CUSTOM].stacks, WF_SMALL_STACK_SIZE, 16);
}

/* {=== Taking ===} */

static struct wf_tstate_memory memory_of(const struct wf_vessel *vessel)
{
    return (struct wf_tstate_memory){
        .chunk_lo = vessel->stack.chunk_lo,
        .chunk_hi = vessel->stack.chunk_hi,
        .stack_lo = vessel->stack.lo,
        .stack_hi = vessel->stack.top,
    };
}

static struct wf_vessel *vessel_make(struct wf_vessels *vessels, struct wf_vessel_pool *pool, bool raw)
{
    struct wf_vessel *vessel = (struct wf_vessel *)wf_stack_acquire(&pool->stacks);
    struct wf_tstate_memory memory;

    if (vessel == NULL)
        return NULL;
    vessel->raw = raw;
    if (!raw) {
        memory = memory_of(vessel);
        vessel->tstate = wf_tstate_new(&memory);
        if (vessel->tstate == NULL) {
            wf_stack_release(&vessel->stack);
            errno = ENOMEM;
            return NULL;
        }
    }
    wf_context_init(&vessel->context, vessel->stack.top, vessels->main, vessel);
    return vessel;
}

static struct wf_vessel *pool_take(struct wf_vessels *vessels, struct wf_vessel_pool *pool, bool raw)
{
    struct wf_vessel *vessel = pool->free[raw];

    if (vessel == NULL)
        return vessel_make(vessels, pool, raw);
    pool->free[raw] = vessel->next_free;
    vessels->idle--;
    return vessel;
}

static size_t length(const struct wf_vessel *list)
{
    size_t count = 0;

    for (; list != NULL; list = list->next_free)
        count++;
    return count;
}

/* Stacks of a size that somebody asked for (threading.stack_size) share one pool of the largest such size: few programs
 * ask for more than one.  Smaller ones made before stay in use until their fibers end, and are then dropped. */
static struct wf_vessel *take_custom(struct wf_vessels *vessels, size_t stack_size, bool raw)
{
    struct wf_vessel_pool *pool = &vessels->pools[WF_POOL_CUSTOM];

    if (stack_size < WF_LEAST_STACK_SIZE)
        stack_size = WF_LEAST_STACK_SIZE;
    if (stack_size > pool->stacks.size) {
        vessels->idle -= length(pool->free[false]) + length(pool->free[true]);
        wf_stack_pool_term(&pool->stacks);
        wf_stack_pool_init(&pool->stacks, stack_size, 16);
        pool->free[false] = pool->free[true] = NULL;
    }
    return pool_take(vessels, pool, raw);
}

/* By default a large one as long as there are large ones. */
struct wf_vessel *wf_vessel_take(struct wf_vessels *vessels, size_t stack_size, bool raw)
{
    struct wf_vessel_pool *large = &vessels->pools[WF_POOL_LARGE];
    struct wf_vessel *vessel;

    if (stack_size != 0)
        return take_custom(vessels, stack_size, raw);
    if ((large->free[raw] != NULL || large->stacks.made < WF_LARGE_STACKS)
        && (vessel = pool_take(vessels, large, raw)) != NULL)
        return vessel;
    return pool_take(vessels, &vessels->pools[WF_POOL_SMALL], raw);
}

void wf_vessel_release(struct wf_vessels *vessels, struct wf_vessel *vessel)
{
    struct wf_vessel_pool *pool = wf_container_of(vessel->stack.pool, struct wf_vessel_pool, stacks);

    vessel->fiber = NULL;
    if (wf_vessel_stack_size(vessel) < pool->stacks.size)
        return; /* of a custom size that is no longer made */
    vessel->next_free = pool->free[vessel->raw];
    pool->free[vessel->raw] = vessel;
    vessels->idle++;
}

/* {=== Trimming ===} */

static size_t to_spare(const struct wf_vessels *vessels, size_t live)
{
    size_t wanted = vessels->recent_peak - live + KEEP_VESSELS;
    return vessels->idle > wanted ? vessels->idle - wanted : 0;
}

bool wf_vessels_trim_wanted(const struct wf_vessels *vessels, size_t live)
{
    return vessels->idle > KEEP_VESSELS
           && (vessels->recent_peak > live || to_spare(vessels, live) > 0);
}

static bool destroy_one(struct wf_vessels *vessels, struct wf_vessel_pool *pool, bool raw)
{
    struct wf_vessel *vessel = pool->free[raw];

    if (vessel == NULL)
        return false;
    pool->free[raw] = vessel->next_free;
    vessels->idle--;
    if (!raw)
        wf_tstate_delete(vessel->tstate);
    return wf_stack_empty(&vessel->stack);
}

static void destroy(struct wf_vessels *vessels, size_t count)
{
    for (int pool = WF_POOLS - 1; pool >= 0; pool--)
        for (int raw = 0; raw < 2; raw++)
            while (count > 0 && destroy_one(vessels, &vessels->pools[pool], raw))
                count--;
}

/* To delete thread states we must hold the GIL, and with one that stays: the first of this pool. */
static void destroy_attached(struct wf_vessels *vessels, struct wf_vessel_pool *pool, size_t count)
{
    struct wf_vessel *keeper = pool->free[false];

    pool->free[false] = keeper->next_free;
    wf_tstate_attach(keeper->tstate);
    destroy(vessels, count);
    wf_tstate_detach(keeper->tstate);
    keeper->next_free = pool->free[false];
    pool->free[false] = keeper;
}

static void let_go(struct wf_vessels *vessels, size_t count)
{
    for (int pool = 0; pool < WF_POOLS; pool++)
        if (vessels->pools[pool].free[false] != NULL) {
            destroy_attached(vessels, &vessels->pools[pool], count);
            return;
        }
    destroy(vessels, count); /* RAW ones alone, which have no thread state */
}

void wf_vessels_trim(struct wf_vessels *vessels, size_t live, int64_t now_ns)
{
    size_t spare = to_spare(vessels, live);
    bool more = spare > TRIM_AT_ONCE;

    if (now_ns < vessels->trim_ns)
        return;
    if (spare > 0)
        let_go(vessels, more ? TRIM_AT_ONCE : spare);
    vessels->trim_ns = now_ns + (more ? TRIM_PAUSE_NS : TRIM_EVERY_NS);
    if (!more)
        vessels->recent_peak = live;
}
