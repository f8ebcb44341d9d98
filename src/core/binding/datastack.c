/* datastack.c - see datastack.h. */
#include "datastack.h"

#include "sched.h"

/* What CPython asks for when a thread makes its first call (DATA_STACK_CHUNK_SIZE in pystate.c). */
#define FIRST_CHUNK_SIZE (16 * 1024)

static PyObjectArenaAllocator before;

static struct wf_vessel *vessel_of_chunk(void *chunk)
{
    return (struct wf_vessel *)((char *)chunk - WF_STACK_HEADER_SIZE);
}

static void *lend_or_alloc(void *ctx, size_t size)
{
    struct wf_worker *worker = wf_this_worker;
    struct wf_vessel *vessel;

    (void)ctx;
    if (size != FIRST_CHUNK_SIZE || worker == NULL || worker->current->kind != WF_RAW)
        return before.alloc(before.ctx, size);
    vessel = worker->current->vessel;
    if (vessel->chunk_lent)
        return before.alloc(before.ctx, size);
    vessel->chunk_lent = true;
    wf_assert((char *)vessel + WF_STACK_HEADER_SIZE == vessel->stack.chunk_lo,
              "the data stack does not follow the header");
    return vessel->stack.chunk_lo;
}

static void take_back_or_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    if (!wf_stack_owns(memory))
        before.free(before.ctx, memory, size);
    else
        vessel_of_chunk(memory)->chunk_lent = false;
}

void wf_datastack_lend(void)
{
    PyObjectArenaAllocator ours = {NULL, lend_or_alloc, take_back_or_free};

    if (before.alloc != NULL)
        return;
    PyObject_GetArenaAllocator(&before);
    PyObject_SetArenaAllocator(&ours);
}
