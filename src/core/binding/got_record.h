/* got_record.h - which slots of which objects got.c has changed, and what they held before.
 *
 * got.c's lock guards it.
 */
#ifndef WF_GOT_RECORD_H
#define WF_GOT_RECORD_H

#include "elf_object.h"
#include "policy.h"

struct wf_caught_slot {
    uintptr_t *slot;
    uintptr_t before, after; /* what it held without us, and what we wrote */
};

struct wf_caught_object {
    const void *dynamic; /* with base and name: which object this is */
    uintptr_t base;
    unsigned name;       /* hashed; the string goes when the object goes */
    bool loaded;         /* met in the latest walk */
    bool complete;       /* every slot has been seen to */
    bool unkept;         /* its policy is OWN_THREAD_LOCALS, and it does not ask ld.so for them */
    enum wf_policy policy;
    struct wf_caught_slot *slots;
    size_t count, room;
};

unsigned wf_hash(const char *name);

/* The record of an object, or NULL. */
struct wf_caught_object *wf_record_find(const struct wf_elf_object *object);

/* The same, made if need be; NULL when memory is short. */
struct wf_caught_object *wf_record_find_or_add(const struct wf_elf_object *object);

/* The record of a slot, or NULL.  So is that of an object which is NULL. */
struct wf_caught_slot *wf_record_slot(const struct wf_caught_object *object, const uintptr_t *slot);

/* Adds one that has none; NULL when memory is short. */
struct wf_caught_slot *wf_record_add_slot(struct wf_caught_object *object, uintptr_t *slot);

/* Before a walk: nothing was met. */
void wf_record_begin(void);

/* After it: forgets what was not met. */
void wf_record_end(void);

void wf_record_each(void (*visit)(const struct wf_caught_object *object, void *arg), void *arg);

#endif
