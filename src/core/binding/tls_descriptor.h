/* tls_descriptor.h - the descriptors of thread-local variables that we answer for.
 *
 * A descriptor is two words in an object's data, a function and its argument.  Code that wants a thread-local
 * variable calls the function with the descriptor's address and gets the variable's distance from the thread pointer.
 * ld.so fills in both words; we replace the first (got.c, as a slot) and note here what it was and which variable it is about.
 *
 * On AArch64 this is how compilers find the variables of libraries unless told otherwise.  On x86-64 they have
 * to be told, and we do not answer (cpu.h).
 *
 * Read by code that must not wait, in any OS thread: entries are published with one store and never taken back.
 * got.c's lock keeps writers apart.
 */
#ifndef WF_TLS_DESCRIPTOR_H
#define WF_TLS_DESCRIPTOR_H

#include "elf_object.h"

struct wf_tls_descriptor {
    _Atomic(const uintptr_t *) slot;             /* NULL: this entry is free */
    ptrdiff_t (*_Atomic real)(const uintptr_t *slot); /* ld.so's function */
    _Atomic size_t module, offset;               /* the variable, as __tls_get_addr would be told */
};

/* Notes an import that is a descriptor, before its slot is changed.  False: there are too many. */
bool wf_tls_descriptor_note(const struct wf_elf_object *object, const struct wf_elf_import *import);

/* The note about a slot that was changed. */
const struct wf_tls_descriptor *wf_tls_descriptor_find(const uintptr_t *slot);

#endif
