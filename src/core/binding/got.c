/* got.c - rewrites slots and symbol values, and keeps the record that puts them back.
 *
 * Everything is a walk over the loaded objects, under ld.so's own lock:
 *
 *     install     hook the symbols, then catch the slots
 *     rescan      catch the slots again
 *     uninstall   unhook the symbols, then release the slots
 *
 * The symbols always go first.  At install, a slot that is bound between the two walks is then
 * ours already; at uninstall, no slot can become ours any more once we visit them.
 *
 * The record has, for each object, its slots and what they held before.  Symbols need no
 * record: what an entry held is known, because we only rewrite those that held *real.
 *
 * Decisions
 *   D1  A slot is taken whatever it holds, and what it held is what uninstall puts back: the real
 *       function, the object's own PLT (not yet bound), or another interposer's function.  The
 *       last is passed by while we are installed, in that object only; interposers that
 *       were there for everybody (LD_PRELOAD) are *real, and stay in the chain.
 *   D2  The symbol table we rewrite is that of the object which defines *real: libc, unless
 *       such an interposer came first (sanitizers do).  Rewriting libc's behind its back would
 *       send its dlsym(RTLD_NEXT) to the hook, and so round in circles.
 *   D3  An object that another thread is just loading is left to ld.so, who will find the hook.
 *   D4  No slot of our own object, of libc or of ld.so is touched: the hooks, and libc's inner
 *       workings (which may hold libc's locks), must reach the real functions.
 *   D5  An object unloaded and loaded again at the same place is taken for the same one.
 *   D6  Objects that must keep thread-local variables apart are known by the name of their file.
 *
 * Out of reach: calls within libc, namespaces made by dlmopen, system call instructions, and
 * addresses copied before install (found with dlsym, or held in a register by a loop that
 * runs on).  Addresses copied while we are installed reach the hook for ever: a hook must pass
 * through when there is nothing to park, and its object must never be unmapped.
 * A slot that another thread is binding at the very moment of install may be lost until a
 * rescan; a call through it blocks its OS thread, as without hooks.
 */
#include "got.h"

#include "elf_object.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INDEX_SIZE = 512 }; /* a power of two, at least twice the hooks */

struct caught_slot {
    uintptr_t *slot;
    uintptr_t before;
};

struct caught_object {
    const void *dynamic; /* with base and name: which object this is */
    uintptr_t base;
    unsigned name;       /* hashed; the string goes when the object goes */
    bool loaded;         /* met in the latest walk */
    bool unkept;         /* it keeps thread-local variables in a way that no hook sees */
    struct caught_slot *slots;
    size_t count, room;
};

/* One set of hooks at a time; the GIL guards it. */
static struct {
    bool installed;
    uintptr_t python;
    const struct wf_hook *index[INDEX_SIZE]; /* by name; open addressing */
    struct caught_object *objects;           /* all but the exempt ones */
    size_t count, room;
    size_t symbols;               /* entries rewritten */
    unsigned long long adds, subs; /* ld.so's counts when the latest walk began */
    bool patient;                  /* the walk that is under way */
    struct {
        uintptr_t address;        /* 0 when none */
        int protection;           /* what it goes back to */
    } open_page;                  /* the page that is writable for our sake */
    const char *failure;          /* what stopped the walk */
} got;

typedef bool visitor(const struct wf_elf_object *object);

/* ---- the hooks by name ---- */

static unsigned hash(const char *name)
{
    unsigned h = 5381;
    while (*name != '\0')
        h = h * 33 + (unsigned char)*name++;
    return h;
}

/* Where `name` is in the index, or where it would go. */
static const struct wf_hook **index_entry(const char *name)
{
    unsigned i = hash(name) % INDEX_SIZE;
    while (got.index[i] != NULL && strcmp(got.index[i]->name, name) != 0)
        i = (i + 1) % INDEX_SIZE;
    return &got.index[i];
}

static bool index_hooks(const struct wf_hook *hooks, size_t count)
{
    if (count > INDEX_SIZE / 2) {
        got.failure = "too many hooks for the index";
        return false;
    }
    memset(got.index, 0, sizeof got.index);
    for (size_t i = 0; i < count; i++)
        if (*hooks[i].real != NULL)
            *index_entry(hooks[i].name) = &hooks[i];
    return true;
}

static uintptr_t hook_address(const struct wf_hook *hook)
{
    return (uintptr_t)hook->hook;
}

static uintptr_t real_address(const struct wf_hook *hook)
{
    return (uintptr_t)*hook->real;
}

/* ---- the real functions ---- */

/* An executable linked at a fixed address (Debian's python) that takes the address of, say, fsync
 * has every object use a stub of its own as "the address of fsync".  The stub jumps through a slot
 * that we are going to rewrite, so it must not become *real: the hook would call itself. */
static bool is_stub(const void *address)
{
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    return dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0 && symbol != NULL &&
           symbol->st_shndx == SHN_UNDEF;
}

/* dladdr is slow, and only the executable has such stubs. */
static void *find_real(const char *name, const struct wf_elf_object *executable)
{
    void *address = dlsym(RTLD_DEFAULT, name);
    if (wf_elf_contains(executable, (uintptr_t)address) && is_stub(address))
        address = dlsym(RTLD_NEXT, name); /* passes by LD_PRELOAD, alas */
    return address;
}

static int read_first(struct dl_phdr_info *info, size_t size, void *object)
{
    (void)size;
    wf_elf_read(object, info);
    return 1;
}

void wf_got_resolve(const struct wf_hook *hooks, size_t count)
{
    struct wf_elf_object executable = {0}; /* ld.so's first, and never unloaded */
    dl_iterate_phdr(read_first, &executable);
    for (size_t i = 0; i < count; i++)
        if (*hooks[i].real == NULL) /* once installed, dlsym would find the hook */
            *hooks[i].real = find_real(hooks[i].name, &executable);
}

/* ---- writing ---- */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void close_page(void)
{
    if (got.open_page.address != 0)
        mprotect((void *)got.open_page.address, page_size(), got.open_page.protection);
    got.open_page.address = 0;
}

/* Makes the page of `word` writable.  It stays so until another page is opened or the walk leaves
 * the object, because the slots of an object lie side by side. */
static bool open_page(const struct wf_elf_object *object, const uintptr_t *word)
{
    uintptr_t page = (uintptr_t)word & -page_size();
    int protection = wf_elf_protection(object, (uintptr_t)word);

    if (page == got.open_page.address || (protection & PROT_WRITE) != 0)
        return true;
    close_page();
    if (mprotect((void *)page, page_size(), protection | PROT_WRITE) != 0) {
        got.failure = "mprotect refuses to make a table of the dynamic linker writable";
        return false;
    }
    got.open_page.address = page;
    got.open_page.protection = protection;
    return true;
}

/* Other threads call through these words all the time: one store, never half an address. */
static void store(uintptr_t *word, uintptr_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static uintptr_t load(const uintptr_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* ---- walking ---- */

/* Another thread may be inside dlopen.  Its object is on ld.so's list already, half relocated, and
 * ld.so protects its pages when it is done; if we opened or closed one of them in the
 * meantime, one of us would write to a read-only page and die.  So a patient walk
 *     1  notes how long the list is;
 *     2  waits until all on it are loaded: dlsym takes the lock under which that happens;
 *     3  visits that many objects, new ones being appended, and begins again if any has gone.
 * An impatient walk leaves out 2.  It must not open pages, but never waits for another thread. */
enum patience { IMPATIENT, PATIENT };

struct walk {
    visitor *visit;
    size_t length, position;       /* in ld.so's list */
    unsigned long long adds, subs; /* objects ever loaded and unloaded, when it was measured */
};

enum { GO_ON, FAILED, DISTURBED }; /* dl_iterate_phdr stops unless its callback says GO_ON */

static int measure(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    struct walk *walk = context;
    walk->length++;
    walk->adds = info->dlpi_adds;
    walk->subs = info->dlpi_subs;
    return GO_ON;
}

/* While it runs the list is locked: no dlsym, no dladdr in here, they would take ld.so's locks in
 * the wrong order. */
static int visit_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    struct walk *walk = context;
    struct wf_elf_object object;

    if (info->dlpi_subs != walk->subs)
        return DISTURBED;
    if (walk->position++ >= walk->length || !wf_elf_read(&object, info))
        return GO_ON;
    bool done = walk->visit(&object);
    close_page();
    return done ? GO_ON : FAILED;
}

static bool visit_all(visitor *visit, enum patience patience)
{
    int outcome;
    do {
        struct walk walk = {.visit = visit};
        dl_iterate_phdr(measure, &walk);
        got.patient = patience == PATIENT;
        if (patience == PATIENT)
            dlsym(RTLD_DEFAULT, "dlsym");
        outcome = dl_iterate_phdr(visit_object, &walk);
        got.adds = walk.adds;
        got.subs = walk.subs;
    } while (outcome == DISTURBED);
    return outcome == GO_ON;
}

static bool is_exempt(const struct wf_elf_object *object)
{
    return wf_elf_contains(object, (uintptr_t)is_exempt) || /* our own */
           wf_elf_contains(object, (uintptr_t)gnu_get_libc_version) ||
           wf_elf_contains(object, getauxval(AT_BASE)); /* ld.so */
}

/* Decision D6.  greenlet remembers on whose C stack it is. */
static bool is_greenlet(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash != NULL ? slash + 1 : path;
    return strncmp(file, "_greenlet.", strlen("_greenlet.")) == 0;
}

/* ---- symbols ---- */

static bool defines_a_real_function(const struct wf_elf_object *object)
{
    for (size_t i = 0; i < INDEX_SIZE; i++)
        if (got.index[i] != NULL && wf_elf_contains(object, real_address(got.index[i])))
            return true;
    return false;
}

/* One name may have several entries, one for each version.  Those with another address are
 * other functions, kept for old binaries. */
static bool rewrite_symbol(const struct wf_elf_object *object, const ElfW(Sym) *symbol,
                           bool to_hook)
{
    if (symbol->st_shndx == SHN_UNDEF)
        return true;
    const struct wf_hook *hook = *index_entry(object->strings + symbol->st_name);
    if (hook == NULL || hook->class != WF_HOOK_ALL)
        return true;

    uintptr_t from = to_hook ? real_address(hook) : hook_address(hook);
    uintptr_t to = to_hook ? hook_address(hook) : real_address(hook);
    uintptr_t *value = (uintptr_t *)&symbol->st_value;
    if (object->base + load(value) != from)
        return true;
    if (!open_page(object, value))
        return false;
    store(value, to - object->base); /* may wrap round; ld.so's addition wraps back */
    got.symbols += to_hook ? 1 : -1;
    return true;
}

static bool rewrite_symbols(const struct wf_elf_object *object, bool to_hook)
{
    bool written = true;
    size_t count = defines_a_real_function(object) ? wf_elf_symbol_count(object) : 0;
    for (size_t i = 1; i < count && written; i++)
        written = rewrite_symbol(object, &object->symbols[i], to_hook);
    return written;
}

static bool hook_symbols(const struct wf_elf_object *object)
{
    return rewrite_symbols(object, true);
}

static bool unhook_symbols(const struct wf_elf_object *object)
{
    rewrite_symbols(object, false);
    return true;
}

/* ---- the record ---- */

/* The array with room for one more element, moved if it had to be; NULL when memory is out, and
 * the array is then as it was. */
static void *with_room(void *array, size_t *room, size_t count, size_t element_size)
{
    if (count < *room)
        return array;
    size_t more = count == 0 ? 8 : 2 * count;
    void *grown = realloc(array, more * element_size);
    if (grown == NULL)
        got.failure = "out of memory for the record of slots";
    else
        *room = more;
    return grown;
}

static struct caught_object *find_object(const struct wf_elf_object *object)
{
    unsigned name = hash(object->name);
    for (size_t i = 0; i < got.count; i++) {
        struct caught_object *caught = &got.objects[i];
        if (caught->dynamic == object->dynamic && caught->base == object->base &&
            caught->name == name)
            return caught;
    }
    return NULL;
}

static struct caught_object *find_or_add_object(const struct wf_elf_object *object)
{
    struct caught_object *caught = find_object(object);
    if (caught != NULL)
        return caught;
    void *objects = with_room(got.objects, &got.room, got.count, sizeof *got.objects);
    if (objects == NULL)
        return NULL;
    got.objects = objects;
    caught = &got.objects[got.count++];
    *caught = (struct caught_object){
        .dynamic = object->dynamic, .base = object->base, .name = hash(object->name)};
    return caught;
}

static struct caught_slot *find_slot(const struct caught_object *object, const uintptr_t *slot)
{
    for (size_t i = 0; i < object->count; i++)
        if (object->slots[i].slot == slot)
            return &object->slots[i];
    return NULL;
}

static struct caught_slot *find_or_add_slot(struct caught_object *object, uintptr_t *slot)
{
    struct caught_slot *caught = find_slot(object, slot);
    if (caught != NULL)
        return caught;
    void *slots = with_room(object->slots, &object->room, object->count, sizeof *object->slots);
    if (slots == NULL)
        return NULL;
    object->slots = slots;
    caught = &object->slots[object->count++];
    *caught = (struct caught_slot){.slot = slot};
    return caught;
}

static void forget_objects(bool all)
{
    size_t kept = 0;
    for (size_t i = 0; i < got.count; i++)
        if (all || !got.objects[i].loaded)
            free(got.objects[i].slots);
        else
            got.objects[kept++] = got.objects[i];
    got.count = kept;
    if (!all)
        return;
    free(got.objects);
    got.objects = NULL;
    got.room = 0;
}

/* ---- slots ---- */

/* The hook that imports of `name` shall reach in this object, or NULL. */
static const struct wf_hook *hook_for(const struct wf_elf_object *object, const char *name)
{
    const struct wf_hook *hook = *index_entry(name);
    if (hook == NULL || hook->class == WF_HOOK_ALL)
        return hook;
    if (hook->class == WF_HOOK_THREAD_LOCAL)
        return is_greenlet(object->name) ? hook : NULL;
    bool in_python = wf_elf_contains(object, got.python);
    return in_python == (hook->class == WF_HOOK_PYTHON) ? hook : NULL;
}

/* Decision D3, for the impatient rescan.  A slot in a page that ends up read-only was
 * bound when its object was loaded, or is just being bound; only a slot that stays writable
 * may still be waiting for its first call. */
static bool is_left_to_ld_so(const struct wf_elf_object *object, const uintptr_t *slot)
{
    return wf_elf_is_offset(object, load(slot)) ||
           (!got.patient && (wf_elf_protection(object, (uintptr_t)slot) & PROT_WRITE) == 0);
}

/* Recorded first, stored after: whatever fails, uninstall knows of every slot that is ours. */
static bool catch_slot(const struct wf_elf_object *object, struct caught_object *record,
                       uintptr_t *slot, const struct wf_hook *hook)
{
    uintptr_t found = load(slot);
    if (found != hook_address(hook) && is_left_to_ld_so(object, slot))
        return true;
    struct caught_slot *caught = find_or_add_slot(record, slot);
    if (caught == NULL)
        return false;

    if (found != hook_address(hook)) {
        if (!open_page(object, slot))
            return false;
        caught->before = found;
        store(slot, hook_address(hook));
    } else if (caught->before == 0) { /* bound by ld.so, from a symbol we had rewritten */
        caught->before = real_address(hook);
    }
    return true;
}

static bool has_thread_locals(const struct wf_elf_object *object)
{
    for (size_t i = 0; i < object->segment_count; i++)
        if (object->segments[i].p_type == PT_TLS)
            return true;
    return false;
}

static bool catch_slots(const struct wf_elf_object *object)
{
    struct wf_elf_import import = {0};
    bool kept = !is_greenlet(object->name) || !has_thread_locals(object);
    if (is_exempt(object))
        return true;
    struct caught_object *record = find_or_add_object(object);
    if (record == NULL)
        return false;
    record->loaded = true;
    while (wf_elf_next_import(object, &import)) {
        const struct wf_hook *hook = hook_for(object, import.name);
        if (hook != NULL && !catch_slot(object, record, import.slot, hook))
            return false;
        kept = kept || (hook != NULL && hook->class == WF_HOOK_THREAD_LOCAL);
    }
    record->unkept = !kept;
    return true;
}

/* Looks at every slot, not only at the recorded ones: any may have been bound to a hook since. */
static bool release_slots(const struct wf_elf_object *object)
{
    struct wf_elf_import import = {0};
    const struct caught_object *record = find_object(object);
    if (is_exempt(object))
        return true;
    while (wf_elf_next_import(object, &import)) {
        const struct wf_hook *hook = hook_for(object, import.name);
        if (hook == NULL || load(import.slot) != hook_address(hook))
            continue;
        const struct caught_slot *caught =
            record != NULL ? find_slot(record, import.slot) : NULL;
        if (open_page(object, import.slot))
            store(import.slot, caught != NULL ? caught->before : real_address(hook));
    }
    return true;
}

/* ---- the contract of got.h ---- */

int wf_got_install(const struct wf_hook *hooks, size_t count, const void *python,
                   const char **error)
{
    got.failure = "hooks are installed already";
    if (!got.installed && index_hooks(hooks, count)) {
        got.python = (uintptr_t)python;
        bool complete = visit_all(hook_symbols, PATIENT) && visit_all(catch_slots, PATIENT);
        got.installed = true;
        if (complete)
            return 0;
        wf_got_uninstall();
    }
    *error = got.failure;
    return -1;
}

static int is_news(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    *(bool *)context = info->dlpi_adds != got.adds || info->dlpi_subs != got.subs;
    return 1; /* every object tells the same */
}

static void rescan(enum patience patience)
{
    for (size_t i = 0; i < got.count; i++)
        got.objects[i].loaded = false;
    if (visit_all(catch_slots, patience))
        forget_objects(false);
    else
        got.adds = 0; /* so that the next call tries again */
}

void wf_got_rescan(void)
{
    bool news = false;
    if (got.installed)
        dl_iterate_phdr(is_news, &news);
    if (news)
        rescan(IMPATIENT);
}

void wf_got_rescan_fully(void)
{
    if (got.installed)
        rescan(PATIENT);
}

bool wf_got_keeps_thread_locals(const void *address)
{
    Dl_info info;
    return dladdr(address, &info) != 0 && is_greenlet(info.dli_fname);
}

void wf_got_uninstall(void)
{
    if (!got.installed)
        return;
    visit_all(unhook_symbols, PATIENT);
    visit_all(release_slots, PATIENT);
    forget_objects(true);
    got.installed = false;
}

struct wf_got_report wf_got_report(void)
{
    struct wf_got_report report = {.symbols = got.symbols};
    for (size_t i = 0; i < got.count; i++) {
        report.slots += got.objects[i].count;
        report.objects += got.objects[i].count > 0;
        report.unkept += got.objects[i].unkept;
    }
    return report;
}
