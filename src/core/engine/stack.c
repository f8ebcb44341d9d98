/* stack.c - cuts stacks from slabs.
 *
 * One cell, from below (stack.h has the picture):
 *
 *     guard         GUARD_SIZE           no access
 *     C stack       pool->size           plus the lower part of the home page
 *     home page     WF_MOST_PAGE_SIZE    holds top and header, at HOME_OFFSET + colour
 *     chunk         WF_STACK_CHUNK_SIZE  plus the upper part of the home page
 *
 * All four are whole pages, whatever the size of a page.  The chunk ends where the next cell's guard
 * begins, so running off either end of a cell is noticed.
 *
 * Guards.  MADV_GUARD_INSTALL (Linux 6.13) marks the page without splitting the slab's
 * mapping: a million guards fit under vm.max_map_count.  Where the kernel refuses it
 * with EINVAL (older; or the memory is locked, after mlockall) we use mprotect, which
 * splits: some 32,000 stacks, then ENOMEM, and so do we.  Going on without a guard was
 * rejected: an overflow would then silently rewrite the neighbour's Python frames, while a
 * spawn that fails is something a program can see.  Which of the two works is
 * not remembered, because it depends on more than the kernel, and asking costs 0.1 us.
 *
 * Huge pages are refused: one of them would back six stacks where a page each suffices.
 */
#include "stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD (-10000)
#endif

/* A pool from which this many were cut is likely to be asked for more: from then on so many are prepared at once. */
#define BATCH_FROM 64
#define BATCH 16

#define GUARD_SIZE WF_STACK_GUARD_SIZE

/* Where the header lies in its home page.  Below it the first C frames need about 1 KiB when a
 * green thread parks a few calls deep; above it, the first Python frames about 400 bytes. */
#define HOME_OFFSET 2048
#define COLOUR_STEP 192 /* three cache lines */
#define COLOUR_RANGE 960
#define CHUNK_AT_HOME 600 /* least part of the chunk to lie in the home page */

_Static_assert(sizeof(struct wf_stack) <= WF_STACK_HEADER_SIZE, "the header holds struct wf_stack");
_Static_assert(HOME_OFFSET + COLOUR_RANGE - COLOUR_STEP + WF_STACK_HEADER_SIZE + CHUNK_AT_HOME <=
                   WF_PAGE_SIZE,
               "stack, header and chunk share the home page, whatever the colour");
_Static_assert(HOME_OFFSET % 64 == 0 && COLOUR_STEP % 64 == 0 && WF_STACK_HEADER_SIZE % 64 == 0,
               "top and chunk start on a cache line");

_Static_assert(GUARD_SIZE % WF_MOST_PAGE_SIZE == 0 && WF_STACK_CHUNK_SIZE % WF_MOST_PAGE_SIZE == 0,
               "guard and chunk are whole pages");

/* More than any processor can address, and small enough to be added to. */
#define SIZE_LIMIT ((size_t)1 << 48)

/* === The registry of slabs =========================================================
 *
 * Append-only: a slab lives as long as the process.  A writer claims a slot, fills in `lo` and then
 * publishes `hi`; until then the slot is an empty range, which contains nothing.
 */
#define SLABS_MAX 4096 /* 64 KiB of zero pages, touched as they fill */

static struct {
    _Atomic(uintptr_t) lo, hi;
} slabs[SLABS_MAX];
static atomic_size_t slabs_claimed;

static bool register_slab(const char *slab, size_t bytes)
{
    size_t slot = atomic_load(&slabs_claimed);
    do {
        if (slot == SLABS_MAX)
            return false;
    } while (!atomic_compare_exchange_weak(&slabs_claimed, &slot, slot + 1));
    atomic_store_explicit(&slabs[slot].lo, (uintptr_t)slab, memory_order_relaxed);
    atomic_store_explicit(&slabs[slot].hi, (uintptr_t)slab + bytes, memory_order_release);
    return true;
}

bool wf_stack_owns(const void *address)
{
    uintptr_t a = (uintptr_t)address;
    size_t count = atomic_load(&slabs_claimed);
    for (size_t i = 0; i < count; i++) {
        uintptr_t hi = atomic_load_explicit(&slabs[i].hi, memory_order_acquire);
        uintptr_t lo = atomic_load_explicit(&slabs[i].lo, memory_order_relaxed);
        if (lo <= a && a < hi)
            return true;
    }
    return false;
}

/* === Slabs ========================================================================= */

static size_t cell_size(const struct wf_stack_pool *pool)
{
    return GUARD_SIZE + pool->size + WF_MOST_PAGE_SIZE + WF_STACK_CHUNK_SIZE;
}

static char *map_slab(size_t bytes)
{
    size_t with_headroom;
    char *slab;
    if (__builtin_add_overflow(bytes, WF_STACK_HEADROOM, &with_headroom))
        return NULL;
    slab = mmap(NULL, with_headroom, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab == MAP_FAILED)
        return NULL;
    munmap(slab + bytes, WF_STACK_HEADROOM);
    madvise(slab, bytes, MADV_NOHUGEPAGE); /* fails where there are none to refuse */
    return slab;
}

/* Gives the pool a new slab, of fewer cells if the system is short of address space. */
static bool reserve_slab(struct wf_stack_pool *pool)
{
    for (size_t cells = pool->slab_cells; cells > 0; cells /= 2) {
        size_t bytes;
        char *slab;
        if (__builtin_mul_overflow(cells, cell_size(pool), &bytes) || !(slab = map_slab(bytes)))
            continue;
        if (!register_slab(slab, bytes)) {
            munmap(slab, bytes);
            break;
        }
        pool->slab_next = pool->prepared_end = slab;
        pool->slab_end = slab + bytes;
        return true;
    }
    errno = ENOMEM;
    return false;
}

/* === Stacks ======================================================================== */

static bool install_guard(char *page)
{
    if (madvise(page, GUARD_SIZE, MADV_GUARD_INSTALL) == 0)
        return true;
    return errno == EINVAL && mprotect(page, GUARD_SIZE, PROT_NONE) == 0;
}

bool wf_stack_guards_are_cheap(void)
{
    void *page = mmap(NULL, WF_PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (page == MAP_FAILED)
        return false;
    bool cheap = madvise(page, WF_PAGE_SIZE, MADV_GUARD_INSTALL) == 0;
    munmap(page, WF_PAGE_SIZE);
    return cheap;
}

/* One vector of advice for this process; all of it was taken, or false.  Kernels before 6.14 have no name for "this
 * process" here, and are asked cell by cell. */
static bool advise_all(const struct iovec *ranges, size_t count, int advice)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += ranges[i].iov_len;
    return syscall(SYS_process_madvise, PIDFD_SELF_THREAD, ranges, count, advice, 0)
           == (ssize_t)bytes;
}

/* Guards several cells with one system call, and brings in their home pages with another: 1.35 us a cell, against 1.75 us
 * with a call and a page fault for each. */
static bool prepare_batch(const struct wf_stack_pool *pool, size_t count)
{
    struct iovec guards[BATCH], homes[BATCH];
    for (size_t i = 0; i < count; i++) {
        char *cell = pool->slab_next + i * cell_size(pool);
        guards[i] = (struct iovec){cell, GUARD_SIZE};
        homes[i] = (struct iovec){cell + GUARD_SIZE + pool->size, WF_PAGE_SIZE};
    }
    if (!advise_all(guards, count, MADV_GUARD_INSTALL))
        return false;
    advise_all(homes, count, MADV_POPULATE_WRITE); /* if not, they come when they are touched */
    return true;
}

/* Guards the next cell, and those after it if the pool has shown an appetite. */
static bool prepare(struct wf_stack_pool *pool)
{
    size_t left = (size_t)(pool->slab_end - pool->slab_next) / cell_size(pool);
    size_t count = left < BATCH ? left : BATCH;
    if (pool->made < BATCH_FROM || !prepare_batch(pool, count)) {
        count = 1;
        if (!install_guard(pool->slab_next))
            return false;
    }
    pool->prepared_end = pool->slab_next + count * cell_size(pool);
    return true;
}

/* Writes the header of the stack in `cell`.  This is the first touch of its home page. */
static struct wf_stack *lay_out(struct wf_stack_pool *pool, char *cell)
{
    char *lo = cell + GUARD_SIZE;
    char *top = lo + pool->size + HOME_OFFSET + pool->made * COLOUR_STEP % COLOUR_RANGE;
    struct wf_stack *stack = (struct wf_stack *)top;
    *stack = (struct wf_stack){
        .lo = lo,
        .top = top,
        .chunk_lo = top + WF_STACK_HEADER_SIZE,
        .chunk_hi = cell + cell_size(pool),
        .pool = pool,
    };
    return stack;
}

/* The memory of an emptied cell comes back, as zero, when its header is written. */
static struct wf_stack *refill(struct wf_stack_pool *pool)
{
    return lay_out(pool, pool->bare[--pool->bare_len]);
}

/* A cell whose guard cannot be installed stays uncut, for the next attempt. */
static struct wf_stack *cut(struct wf_stack_pool *pool)
{
    if (pool->slab_next == pool->slab_end && !reserve_slab(pool))
        return NULL;
    if (pool->slab_next == pool->prepared_end && !prepare(pool))
        return NULL;
    struct wf_stack *stack = lay_out(pool, pool->slab_next);
    pool->slab_next += cell_size(pool);
    pool->made++;
    return stack;
}

/* === The pool ======================================================================
 *
 * While a stack is in use its next_free points to itself.  Releasing it twice would put two
 * green threads on it one day; this mark finds out at once.
 */

void wf_stack_pool_init(struct wf_stack_pool *pool, size_t size, size_t slab_cells)
{
    wf_assert(slab_cells > 0, "a slab has at least one cell");
    if (size > SIZE_LIMIT)
        size = SIZE_LIMIT; /* cannot be mapped either; keeps the sums below from overflowing */
    *pool = (struct wf_stack_pool){
        .size = (size + WF_MOST_PAGE_SIZE - 1) & ~(size_t)(WF_MOST_PAGE_SIZE - 1),
        .slab_cells = slab_cells,
    };
}

void wf_stack_pool_term(struct wf_stack_pool *pool)
{
    free(pool->bare);
    pool->bare = NULL;
    pool->bare_len = pool->bare_capacity = 0;
}

struct wf_stack *wf_stack_acquire(struct wf_stack_pool *pool)
{
    struct wf_stack *stack = wf_likely(pool->free) ? pool->free
                             : pool->bare_len > 0  ? refill(pool)
                                                   : cut(pool);
    if (wf_unlikely(!stack))
        return NULL;
    pool->free = stack->next_free;
    stack->next_free = stack;
    return stack;
}

void wf_stack_release(struct wf_stack *stack)
{
    wf_assert(stack->next_free == stack, "the stack is not in use");
    stack->next_free = stack->pool->free;
    stack->pool->free = stack;
}

static bool reserve_bare(struct wf_stack_pool *pool)
{
    size_t capacity = pool->bare_capacity ? 2 * pool->bare_capacity : 64;
    char **bare;
    if (pool->bare_len < pool->bare_capacity)
        return true;
    bare = realloc(pool->bare, capacity * sizeof *bare);
    if (!bare)
        return false;
    pool->bare = bare;
    pool->bare_capacity = capacity;
    return true;
}

bool wf_stack_empty(struct wf_stack *stack)
{
    struct wf_stack_pool *pool = stack->pool;
    char *lo = stack->lo;
    wf_assert(stack->next_free == stack, "the stack is not in hand");
    if (!reserve_bare(pool))
        return false;
    pool->bare[pool->bare_len++] = lo - GUARD_SIZE;
    madvise(lo, cell_size(pool) - GUARD_SIZE, MADV_DONTNEED); /* the guard stays */
    return true;
}

bool wf_stack_guard_contains(const struct wf_stack *stack, const void *address)
{
    const char *a = address;
    return stack->lo - GUARD_SIZE <= a && a < stack->lo;
}
