/* tls_descriptor.c - a table with open addressing; tls_descriptor.h has the idea. */
#include "tls_descriptor.h"

#include "cpu.h"

#include <stdatomic.h>

enum { SIZE = 1024, MOST = SIZE / 2 }; /* greenlet has two */

static struct wf_tls_descriptor descriptors[SIZE];
static size_t count;

/* The entry of `slot`, or where it would go. */
static struct wf_tls_descriptor *entry(const uintptr_t *slot)
{
    size_t i = (uintptr_t)slot / (2 * sizeof *slot) % SIZE;
    const uintptr_t *there;

    while ((there = atomic_load_explicit(&descriptors[i].slot, memory_order_acquire)) != NULL && there != slot)
        i = (i + 1) % SIZE;
    return &descriptors[i];
}

/* Another object at the same place has other descriptors: whatever ld.so has written there is noted anew. */
bool wf_tls_descriptor_note(const struct wf_elf_object *object, const struct wf_elf_import *import)
{
    struct wf_tls_descriptor *descriptor = entry(import->slot);

    if (descriptor->slot == NULL && count++ == MOST)
        return false;
    if (*import->slot != (uintptr_t)WF_CPU_TLS_RESOLVER)
        descriptor->real = (ptrdiff_t (*)(const uintptr_t *))*import->slot;
    descriptor->module = object->tls_module;
    descriptor->offset = import->tls_offset;
    atomic_store_explicit(&descriptor->slot, import->slot, memory_order_release);
    return true;
}

const struct wf_tls_descriptor *wf_tls_descriptor_find(const uintptr_t *slot)
{
    return entry(slot);
}
