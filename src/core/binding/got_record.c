/* got_record.c - two arrays that grow; got_record.h has the idea. */
#include "got_record.h"

#include <stdlib.h>

static struct wf_caught_object *objects; /* all but the exempt ones */
static size_t count, room;

unsigned wf_hash(const char *name)
{
    unsigned hash = 5381;
    while (*name != '\0')
        hash = hash * 33 + (unsigned char)*name++;
    return hash;
}

/* The array with room for one more element, moved if it had to be; NULL when memory is out, and
 * the array is then as it was. */
static void *with_room(void *array, size_t *array_room, size_t used, size_t element_size)
{
    if (used < *array_room)
        return array;
    size_t more = used == 0 ? 8 : 2 * used;
    void *grown = realloc(array, more * element_size);
    if (grown != NULL)
        *array_room = more;
    return grown;
}

struct wf_caught_object *wf_record_find(const struct wf_elf_object *object)
{
    unsigned name = wf_hash(object->name);
    for (size_t i = 0; i < count; i++) {
        struct wf_caught_object *caught = &objects[i];
        if (caught->dynamic == object->dynamic && caught->base == object->base &&
            caught->name == name)
            return caught;
    }
    return NULL;
}

struct wf_caught_object *wf_record_find_or_add(const struct wf_elf_object *object)
{
    struct wf_caught_object *caught = wf_record_find(object);
    if (caught != NULL)
        return caught;
    void *grown = with_room(objects, &room, count, sizeof *objects);
    if (grown == NULL)
        return NULL;
    objects = grown;
    caught = &objects[count++];
    *caught = (struct wf_caught_object){
        .dynamic = object->dynamic, .base = object->base, .name = wf_hash(object->name)};
    return caught;
}

struct wf_caught_slot *wf_record_slot(const struct wf_caught_object *object, const uintptr_t *slot)
{
    for (size_t i = 0; object != NULL && i < object->count; i++)
        if (object->slots[i].slot == slot)
            return &object->slots[i];
    return NULL;
}

struct wf_caught_slot *wf_record_add_slot(struct wf_caught_object *object, uintptr_t *slot)
{
    void *grown = with_room(object->slots, &object->room, object->count, sizeof *object->slots);
    if (grown == NULL)
        return NULL;
    object->slots = grown;
    object->slots[object->count] = (struct wf_caught_slot){.slot = slot};
    return &object->slots[object->count++];
}

void wf_record_begin(void)
{
    for (size_t i = 0; i < count; i++)
        objects[i].loaded = false;
}

void wf_record_end(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (objects[i].loaded)
            objects[kept++] = objects[i];
        else
            free(objects[i].slots);
    count = kept;
}

void wf_record_each(void (*visit)(const struct wf_caught_object *object, void *arg), void *arg)
{
    for (size_t i = 0; i < count; i++)
        visit(&objects[i], arg);
}
