/* elf_object.c - reads program headers, the dynamic section, relocations and hash tables.
 *
 * The order is that of the specification (gABI, chapter 5): segments say where the
 * dynamic section is, the dynamic section says where the tables are.
 *
 * What a slot is.  Three kinds of relocation make ld.so write the bare address of a symbol:
 *   JUMP_SLOT  a call through the PLT; bound at load (-z now) or at the first call;
 *   GLOB_DAT   a call or an address through the GOT (-fno-plt, Rust, `&read` in PIC);
 *   ABSOLUTE   an address in initialised data (a table of functions, as SQLite's).
 * A fourth, a descriptor, makes it write a function of its own, and what to tell that function.
 * An addend other than 0 means "somewhere behind the symbol", which no function call uses, but variables do.
 */
#include "elf_object.h"

#include "cpu.h"

#include <sys/mman.h>
#include <unistd.h>

enum { DATA, CALLS, TABLES }; /* indices of wf_elf_object.relocations */

/* ---- segments ---- */

bool wf_elf_contains(const struct wf_elf_object *object, uintptr_t address)
{
    for (size_t i = 0; i < object->segment_count; i++) {
        const ElfW(Phdr) *segment = &object->segments[i];
        if (segment->p_type == PT_LOAD &&
            address - object->base - segment->p_vaddr < segment->p_memsz)
            return true;
    }
    return false;
}

/* ld.so protects whole pages only: it rounds both ends of the region down. */
static bool in_relro(const struct wf_elf_object *object, const ElfW(Phdr) *segment,
                     uintptr_t address)
{
    uintptr_t mask = -(uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t lo = object->base + segment->p_vaddr;
    return address >= (lo & mask) && address < ((lo + segment->p_memsz) & mask);
}

int wf_elf_protection(const struct wf_elf_object *object, uintptr_t address)
{
    int protection = PROT_NONE;
    for (size_t i = 0; i < object->segment_count; i++) {
        const ElfW(Phdr) *segment = &object->segments[i];
        if (segment->p_type == PT_GNU_RELRO && in_relro(object, segment, address))
            return PROT_READ;
        if (segment->p_type == PT_LOAD &&
            address - object->base - segment->p_vaddr < segment->p_memsz)
            protection = (segment->p_flags & PF_R ? PROT_READ : 0) |
                         (segment->p_flags & PF_W ? PROT_WRITE : 0) |
                         (segment->p_flags & PF_X ? PROT_EXEC : 0);
    }
    return protection;
}

bool wf_elf_is_offset(const struct wf_elf_object *object, uintptr_t slot_value)
{
    if (slot_value == 0)
        return true;
    return object->base != 0 && wf_elf_contains(object, object->base + slot_value);
}

/* ---- the dynamic section ---- */

/* glibc overwrites the addresses in the dynamic section by absolute ones, unless the section is
 * read-only (the vdso; -z rodynamic).  Only one of the two readings lies in the object. */
static const void *at(const struct wf_elf_object *object, ElfW(Addr) value)
{
    if (!wf_elf_contains(object, value))
        value += object->base;
    return wf_elf_contains(object, value) ? (const void *)value : NULL;
}

static void read_entry(struct wf_elf_object *object, const ElfW(Dyn) *entry)
{
    struct wf_elf_relocations *data = &object->relocations[DATA];
    struct wf_elf_relocations *calls = &object->relocations[CALLS];

    switch (entry->d_tag) {
    case DT_SYMTAB:   object->symbols = at(object, entry->d_un.d_ptr); break;
    case DT_STRTAB:   object->strings = at(object, entry->d_un.d_ptr); break;
    case DT_GNU_HASH: object->gnu_hash = at(object, entry->d_un.d_ptr); break;
    case DT_HASH:     object->sysv_hash = at(object, entry->d_un.d_ptr); break;
    case DT_RELA:     data->entries = at(object, entry->d_un.d_ptr); break;
    case DT_RELASZ:   data->count = entry->d_un.d_val / sizeof *data->entries; break;
    case DT_JMPREL:   calls->entries = at(object, entry->d_un.d_ptr); break;
    case DT_PLTRELSZ: calls->count = entry->d_un.d_val / sizeof *calls->entries; break;
    default:          break;
    }
}

bool wf_elf_read(struct wf_elf_object *object, const struct dl_phdr_info *info)
{
    *object = (struct wf_elf_object){
        .base = info->dlpi_addr,
        .name = info->dlpi_name,
        .segments = info->dlpi_phdr,
        .segment_count = info->dlpi_phnum,
        .tls_module = info->dlpi_tls_modid,
    };
    for (size_t i = 0; i < object->segment_count; i++)
        if (object->segments[i].p_type == PT_DYNAMIC)
            object->dynamic = (const void *)(object->base + object->segments[i].p_vaddr);
    if (object->dynamic == NULL)
        return false;
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++)
        read_entry(object, entry);
    return object->symbols != NULL && object->strings != NULL;
}

/* ---- imports ---- */

static bool read_descriptor(const struct wf_elf_object *object, const ElfW(Rela) *relocation,
                            struct wf_elf_import *import)
{
    const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(relocation->r_info)];
    bool named = symbol != object->symbols;
    if (named && symbol->st_shndx == SHN_UNDEF)
        return false;

    import->name = WF_ELF_TLS_DESCRIPTOR;
    import->slot = (uintptr_t *)(object->base + relocation->r_offset);
    import->tls_offset = (named ? symbol->st_value : 0) + (size_t)relocation->r_addend;
    return true;
}

static bool read_import(const struct wf_elf_object *object, const ElfW(Rela) *relocation,
                        struct wf_elf_import *import)
{
    unsigned type = ELF64_R_TYPE(relocation->r_info);
    if (type == WF_TLS_DESCRIPTOR)
        return read_descriptor(object, relocation, import);
    if ((type != WF_JUMP_SLOT && type != WF_GLOB_DAT && type != WF_ABSOLUTE) || relocation->r_addend != 0)
        return false;

    const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(relocation->r_info)];
    uintptr_t slot = object->base + relocation->r_offset;
    /* What the object defines itself it does not import, and a word in a packed
     * structure cannot be replaced under the eyes of other threads. */
    if (symbol->st_shndx != SHN_UNDEF || slot % sizeof(uintptr_t) != 0)
        return false;

    import->name = object->strings + symbol->st_name;
    import->slot = (uintptr_t *)slot;
    return true;
}

bool wf_elf_next_import(const struct wf_elf_object *object, struct wf_elf_import *import)
{
    for (; import->table < TABLES; import->table++, import->next = 0) {
        const struct wf_elf_relocations *table = &object->relocations[import->table];
        while (table->entries != NULL && import->next < table->count)
            if (read_import(object, &table->entries[import->next++], import))
                return true;
    }
    return false;
}

/* ---- symbols ---- */

/* The table itself does not say how long it is, but the hash tables over it do.  GNU's:
 *
 *     bucket count | first hashed symbol | bloom words | shift | bloom | buckets | chains
 *
 * A bucket names the first symbol of a chain; chains follow each other in the order of
 * the symbols, and the lowest bit marks the last of each. */
static size_t count_gnu(const uint32_t *table)
{
    uint32_t bucket_count = table[0], first = table[1], bloom_words = table[2];
    const uint32_t *buckets = table + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof *table);
    const uint32_t *chains = buckets + bucket_count;
    uint32_t last = 0;

    for (uint32_t i = 0; i < bucket_count; i++)
        if (buckets[i] > last)
            last = buckets[i];
    if (last < first) /* nothing is exported */
        return first;
    while ((chains[last - first] & 1) == 0)
        last++;
    return last + 1;
}

size_t wf_elf_symbol_count(const struct wf_elf_object *object)
{
    if (object->gnu_hash != NULL)
        return count_gnu(object->gnu_hash);
    return object->sysv_hash != NULL ? object->sysv_hash[1] : 0;
}
