/* thread_local.c - the blocks of variables; thread_local.h has the idea.
 *
 * A block begins as the object's template says (the segment PT_TLS: some bytes of the file, then
 * zeros), as ld.so would make it for a new OS thread.
 */
#include "thread_local.h"

#include "fiber.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>

struct destruction {
    void (*destructor)(void *);
    void *object;
    struct destruction *next;
};

struct wf_thread_locals {
    struct wf_thread_locals *next;
    size_t module, size;
    char *variables;
    struct destruction *destructions; /* last noted first */
};

/* {=== Templates ===} */

struct template {
    size_t module;
    const char *contents;
    size_t content_size, size, alignment;
};

static int find_template(struct dl_phdr_info *info, size_t info_size, void *wanted)
{
    struct template *template = wanted;

    (void)info_size;
    if (info->dlpi_tls_modid != template->module)
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_TLS)
            continue;
        template->contents = (const char *)info->dlpi_addr + segment->p_vaddr;
        template->content_size = segment->p_filesz;
        template->size = segment->p_memsz;
        template->alignment = segment->p_align;
    }
    return 1;
}

/* ld.so, too, ends the process when there is no memory for thread-local variables: nobody asked for any,
 * so there is nobody to tell. */
static void *allocate(size_t alignment, size_t size)
{
    void *memory;

    if (posix_memalign(&memory, alignment > sizeof(void *) ? alignment : sizeof(void *), size) != 0)
        wf_panic(__func__, "no memory for the thread-local variables of a green thread");
    return memory;
}

static struct wf_thread_locals *block_new(size_t module)
{
    struct template template = {.module = module};
    struct wf_thread_locals *block = allocate(1, sizeof *block);

    dl_iterate_phdr(find_template, &template);
    *block = (struct wf_thread_locals){.module = module, .size = template.size};
    block->variables = allocate(template.alignment, template.size);
    memcpy(block->variables, template.contents, template.content_size);
    memset(block->variables + template.content_size, 0, template.size - template.content_size);
    return block;
}

/* {=== A fiber's blocks ===} */

void *wf_thread_local_address(struct wf_fiber *fiber, size_t module, size_t offset)
{
    struct wf_belongings *owned = wf_fiber_belongings(fiber);
    struct wf_thread_locals *block;

    wf_assert(owned != NULL, "no memory for what belongs to a green thread");
    block = owned->thread_locals;
    while (block != NULL && block->module != module)
        block = block->next;
    if (wf_unlikely(block == NULL)) {
        block = block_new(module);
        block->next = owned->thread_locals;
        owned->thread_locals = block;
    }
    return block->variables + offset;
}

static struct wf_thread_locals *block_of(struct wf_fiber *fiber, const void *object)
{
    struct wf_belongings *owned = wf_fiber_has(fiber);
    struct wf_thread_locals *block = owned ? owned->thread_locals : NULL;

    while (block != NULL && (size_t)((const char *)object - block->variables) >= block->size)
        block = block->next;
    return block;
}

bool wf_thread_local_at_end(struct wf_fiber *fiber, void (*destructor)(void *), void *object)
{
    struct wf_thread_locals *block = block_of(fiber, object);
    struct destruction *destruction;

    if (block == NULL)
        return false;
    destruction = allocate(1, sizeof *destruction);
    *destruction = (struct destruction){destructor, object, block->destructions};
    block->destructions = destruction;
    return true;
}

/* A destructor may use variables again, its own or another object's, and even note another destructor. */
static bool destroy_one(struct wf_thread_locals *block)
{
    struct destruction *last = block->destructions;

    if (last == NULL)
        return false;
    block->destructions = last->next;
    last->destructor(last->object);
    free(last);
    return true;
}

void wf_thread_locals_end(struct wf_fiber *fiber)
{
    struct wf_belongings *owned = wf_fiber_has(fiber);

    while (owned != NULL && owned->thread_locals != NULL) {
        struct wf_thread_locals *block = owned->thread_locals;
        if (destroy_one(block))
            continue;
        owned->thread_locals = block->next;
        free(block->variables);
        free(block);
    }
}
