/* stack.h - C stacks for green threads, cut from large slabs and reused.
 *
 * One stack is one cell of a slab:
 *
 *   cell                                    home page                      cell end
 *    |   guard    | ...... C stack  <------ top | header | chunk ------> ..... |
 *    lo-GUARD     lo                            |<- one 4 KiB page ->|     chunk_hi
 *
 * The C stack grows down and CPython's data-stack chunk grows up from the
 * *same* page (the home page), with the header between them: a green
 * thread that is parked a few calls deep then occupies one page of memory.
 * The rest of the cell is address space that nobody has touched.  Where pages are larger than 4 KiB the
 * home page is the first 4 KiB of one, and memory goes by those.
 *
 * Within the home page the header's place is coloured (moved by a few cache
 * lines from one stack to the next), so that a thousand stacks do not fight over the
 * same cache sets.
 *
 * Invariants
 *   S1  A stack's addresses are never given back to the system, only reused.  A pointer
 *       into it may be stale but can always be read (as zero, after wf_stack_empty).
 *   S2  top and chunk_lo are 16-byte aligned; the guard is below lo.
 *   S3  A released stack keeps its header: the owner's part is as he left it.
 *
 * A pool belongs to one OS thread.  The registry of slabs (wf_stack_owns) is
 * shared by all and may be read from anywhere, signal handlers included.
 */
#ifndef WF_STACK_H
#define WF_STACK_H

#include "base.h"

#define WF_STACK_HEADER_SIZE 512  /* of which struct wf_stack is the first part; the rest is the owner's */
/* More than any frame in sight: select.select has one of 51 KiB, which would step over a single page into the
 * neighbour's data stack.  Guarding 16 pages takes as long as guarding one. */
#define WF_STACK_GUARD_SIZE 65536
#define WF_STACK_CHUNK_SIZE 65536 /* least size of [chunk_lo, chunk_hi) */
/* Address space that slabs leave to everybody else: where it is limited, a program that asks for too many green
 * threads shall get MemoryError, and still be able to handle it. */
#define WF_STACK_HEADROOM ((size_t)64 << 20)

struct wf_stack_pool;

struct wf_stack {
    char *lo;                   /* lowest usable byte of the C stack; the guard lies below */
    char *top;                  /* where the C stack starts, growing down; == (char *)this header */
    char *chunk_lo, *chunk_hi;  /* untouched memory above the header, for the data stack */
    struct wf_stack_pool *pool; /* whence it came and where it returns */
    struct wf_stack *next_free; /* valid while in the pool */
};

struct wf_stack_pool {
    size_t size;              /* bytes of C stack, a multiple of the largest page size */
    size_t slab_cells;        /* cells to reserve at a time */
    struct wf_stack *free;    /* released stacks, last in, first out: the warmest first */
    char *slab_next, *slab_end; /* cells of the newest slab not yet cut */
    char *prepared_end;       /* those up to here are guarded already */
    char **bare;              /* cells whose memory was given back, to be used before a new one is cut */
    size_t bare_len, bare_capacity;
    size_t made;              /* stacks cut so far; also the colour of the next one */
};

/* `size` is rounded up to whole pages.  Reserves nothing yet. */
void wf_stack_pool_init(struct wf_stack_pool *pool, size_t size, size_t slab_cells);

/* Frees the pool's books.  Its addresses stay reserved (S1); stacks in use stay usable. */
void wf_stack_pool_term(struct wf_stack_pool *pool);

/* A released stack, or a new one; NULL with errno set when the system has no address space
 * (ENOMEM) left.  A new stack's header beyond struct wf_stack is zero. */
struct wf_stack *wf_stack_acquire(struct wf_stack_pool *pool);

/* Gives the stack back to its pool.  The caller may still stand on it, as long as nobody
 * acquires before he has left. */
void wf_stack_release(struct wf_stack *stack);

/* Gives the memory of a released stack that is on no free list (its acquirer has it in hand) back to the
 * system, header included, and keeps its addresses for later.  False when that could not be noted; then nothing has happened. */
bool wf_stack_empty(struct wf_stack *stack);

/* Can guards be made without splitting mappings?  Tried on a page of its own. */
bool wf_stack_guards_are_cheap(void);

/* Is `address` in the guard of this stack?  Async-signal-safe. */
bool wf_stack_guard_contains(const struct wf_stack *stack, const void *address);

/* Does `address` lie in any slab of any pool?  Async-signal-safe. */
bool wf_stack_owns(const void *address);

#endif
