/* elf_object.h - one loaded object, read where the dynamic loader has mapped it.
 *
 * An object is an executable or a shared library.  Of each we want to know
 *   - where it lies, and how its pages are protected;
 *   - its imports: the words, called slots, that ld.so fills with the address of
 *     a symbol which another object defines;
 *   - its symbols, as ld.so sees them when it binds somebody else's imports.
 *
 * Nothing is copied, and nothing is changed here.  A struct wf_elf_object is valid while the
 * object cannot be unloaded: inside the callback of dl_iterate_phdr, which holds ld.so's lock.
 *
 * Relocation types are a processor's: cpu.h names them.
 */
#ifndef WF_ELF_OBJECT_H
#define WF_ELF_OBJECT_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wf_elf_relocations {
    const ElfW(Rela) *entries;
    size_t count;
};

struct wf_elf_object {
    uintptr_t base;             /* what ld.so adds to every address in the file */
    const char *name;           /* ld.so's name for it; empty for the executable */
    const ElfW(Phdr) *segments;
    size_t segment_count;
    const ElfW(Dyn) *dynamic;
    const ElfW(Sym) *symbols;   /* imports and exports alike; entry 0 is nobody */
    const char *strings;
    size_t tls_module;          /* ld.so's number for its thread-local variables; 0: it has none */
    const uint32_t *gnu_hash;   /* one of the two may be missing */
    const uint32_t *sysv_hash;
    struct wf_elf_relocations relocations[2]; /* DT_RELA (data), DT_JMPREL (calls) */
};

/* The name under which the descriptors of an object's own thread-local variables (tls_descriptor.h) are met. */
#define WF_ELF_TLS_DESCRIPTOR "(thread-local variable)"

/* A position among an object's imports.  All zero before the first. */
struct wf_elf_import {
    const char *name;           /* the symbol, without version */
    uintptr_t *slot;            /* aligned, so that one store replaces it */
    size_t tls_offset;          /* of a descriptor: where the variable is among the object's */
    size_t table, next;
};

/* False for an object without dynamic symbols, in which there is nothing to see. */
bool wf_elf_read(struct wf_elf_object *object, const struct dl_phdr_info *info);

bool wf_elf_contains(const struct wf_elf_object *object, uintptr_t address);

/* How ld.so has left the page of `address` (an address inside the object): PROT_ flags. */
int wf_elf_protection(const struct wf_elf_object *object, uintptr_t address);

/* Has ld.so not come to this slot yet?  It then still holds what the file says, an offset. */
bool wf_elf_is_offset(const struct wf_elf_object *object, uintptr_t slot_value);

/* Steps to the next import; false after the last. */
bool wf_elf_next_import(const struct wf_elf_object *object, struct wf_elf_import *import);

/* How many entries `symbols` has; 0 if the object does not tell. */
size_t wf_elf_symbol_count(const struct wf_elf_object *object);

#endif
