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
 *   D3  An object that another thread is just loading is waited for.  That thread may need the GIL, or
 *       whatever its constructors need, so a walk must not come as a surprise: never at a park,
 *       but at install, at uninstall, when a rule is made, and when somebody calls dlsym, who
 *       is about to wait for ld.so himself (hook_lookup.c).
 *   D4  No slot of our own object, of libc or of ld.so is touched: the hooks, and libc's inner
 *       workings (which may hold libc's locks), must reach the real functions.
 *   D5  An object unloaded and loaded again at the same place is taken for the same one.
 *   D6  In an excluded object a slot not bound yet gets the real function at once: bound at its
 *       first call, it would get the hook, from libc's symbol table.
 *
 * Out of reach: calls within libc, namespaces made by dlmopen, system call instructions, and
 * addresses copied before install (found with dlsym, or held in a register by a loop that
 * runs on).  Addresses copied while we are installed reach the hook for ever: a hook must pass
 * through when there is nothing to park, and its object must never be unmapped.
 * A slot that another thread is binding at the very moment of install may be lost: a call
 * through it blocks its OS thread, as without hooks.
 * What the constructors of an object call while it is loaded, and what is called in it later without
 * anybody having looked up a symbol since, meets the hooks of class ALL only, whatever the policy.
 */
#include "got.h"

#include "cpu.h"
#include "elf_object.h"
#include "got_record.h"
#include "tls_descriptor.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { INDEX_SIZE = 2 * WF_GOT_MOST_HOOKS }; /* a power of two */

/* One set of hooks at a time.  The GIL keeps install, uninstall and rules apart, the lock keeps
 * rescans from them.  Nobody who has it waits for ld.so to finish loading. */
static struct {
    pthread_mutex_t lock;
    atomic_bool installed;
    uintptr_t python;
    const struct wf_hook *hooks;             /* also after uninstall: thunks may still be called */
    const struct wf_hook *index[INDEX_SIZE]; /* by name; open addressing */
    size_t symbols;                          /* entries rewritten */
    atomic_ullong adds, subs;                /* ld.so's counts when the latest walk began */
    bool unloaded;                           /* something has been, between that walk and this */
    struct {
        uintptr_t address;                   /* 0 when none */
        int protection;                      /* what it goes back to */
    } open_page;                             /* the page that is writable for our sake */
    struct wf_elf_object executable;         /* ld.so's first, and never unloaded */
    char executable_path[PATH_MAX];          /* ld.so has no name for it */
    char unkept[NAME_MAX + 1];               /* as wf_got_report tells; empty: none */
    const char *failure;                     /* what stopped the walk */
} got = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef bool visitor(const struct wf_elf_object *object);

/* ---- the hooks by name ---- */

static bool is_for(const struct wf_hook *hook, bool in_python)
{
    return hook->class == WF_HOOK_ALL || in_python == (hook->class == WF_HOOK_PYTHON);
}

/* Where the hook of `name` is in the index, or where it would go.  A name may have one hook for
 * CPython's object and another for the others. */
static const struct wf_hook **index_entry(const char *name, bool in_python)
{
    unsigned i = wf_hash(name) % INDEX_SIZE;
    while (got.index[i] != NULL &&
           !(is_for(got.index[i], in_python) && strcmp(got.index[i]->name, name) == 0))
        i = (i + 1) % INDEX_SIZE;
    return &got.index[i];
}

static bool index_hooks(const struct wf_hook *hooks, size_t count)
{
    if (count > WF_GOT_MOST_HOOKS) {
        got.failure = "too many hooks for the index";
        return false;
    }
    memset(got.index, 0, sizeof got.index);
    got.hooks = hooks;
    for (size_t i = 0; i < count; i++)
        if (*hooks[i].real != NULL)
            *index_entry(hooks[i].name, hooks[i].class == WF_HOOK_PYTHON) = &hooks[i];
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

/* thunk_<cpu>.S has one for each hook. */
enum { THUNK_SIZE = 16 };
extern const char wf_thunks[WF_GOT_MOST_HOOKS][THUNK_SIZE] __attribute__((visibility("hidden")));

static uintptr_t thunk_address(const struct wf_hook *hook)
{
    return (uintptr_t)wf_thunks[hook - got.hooks];
}

/* Called by the thunks: where to go from here. */
uintptr_t wf_thunk_target(unsigned index) __attribute__((visibility("hidden")));

uintptr_t wf_thunk_target(unsigned index)
{
    const struct wf_hook *hook = &got.hooks[index];
    return wf_got_gil_is_held() ? real_address(hook) : hook_address(hook);
}

/* ---- the real functions ---- */

/* An executable linked at a fixed address (Debian's python) that takes the address of, say, fsync
 * has every object use a stub of its own as "the address of fsync".  The stub jumps through a slot
 * that we are going to rewrite, so it must not become *real: the hook would call itself. */
static bool is_stub(uintptr_t address)
{
    const struct wf_elf_object *executable = &got.executable;
    size_t count = wf_elf_contains(executable, address) ? wf_elf_symbol_count(executable) : 0;
    for (size_t i = 1; i < count; i++)
        if (executable->symbols[i].st_shndx == SHN_UNDEF &&
            executable->base + executable->symbols[i].st_value == address)
            return true;
    return false;
}

static void *find_real(const char *name)
{
    void *address = dlsym(RTLD_DEFAULT, name);
    if (is_stub((uintptr_t)address))
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
    dl_iterate_phdr(read_first, &got.executable);
    if (readlink("/proc/self/exe", got.executable_path, sizeof got.executable_path - 1) < 0)
        got.executable_path[0] = '\0';
    for (size_t i = 0; i < count; i++)
        if (*hooks[i].real == NULL) /* once installed, dlsym would find the hook */
            *hooks[i].real = find_real(hooks[i].name);
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
 * meantime, one of us would write to a read-only page and die.  So a walk
 *     1  notes how long the list is;
 *     2  waits until all on it are loaded: dlsym takes the lock under which that happens;
 *     3  visits that many objects, new ones being appended, and begins again if any has gone.
 * Who holds our lock never waits for ld.so in this way: the thread that is inside dlopen may want ours. */
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

static int visit(struct walk walk, visitor *visitor)
{
    walk.visit = visitor;
    return visitor == NULL ? GO_ON : dl_iterate_phdr(visit_object, &walk);
}

/* Everything `first`, then everything `second`, which may be NULL.  `take` is how to get the lock. */
static bool visit_all(visitor *first, visitor *second, int (*take)(pthread_mutex_t *lock))
{
    int outcome;
    do {
        struct walk walk = {0};
        dl_iterate_phdr(measure, &walk);
        dlsym(RTLD_DEFAULT, "dlsym");
        if (take(&got.lock) != 0)
            return false;
        wf_record_begin();
        got.unloaded = walk.subs != got.subs;
        outcome = walk.adds < got.adds ? DISTURBED : visit(walk, first); /* a later one was faster */
        if (outcome == GO_ON)
            outcome = visit(walk, second);
        if (outcome == GO_ON) {
            wf_record_end();
            got.adds = walk.adds;
            got.subs = walk.subs;
        }
        pthread_mutex_unlock(&got.lock);
    } while (outcome == DISTURBED);
    return outcome == GO_ON;
}

/* ---- which object is it? ---- */

/* Why an object is left alone, or NULL. */
static const char *exemption(const struct wf_elf_object *object)
{
    if (wf_elf_contains(object, (uintptr_t)exemption))
        return "weft itself";
    if (wf_elf_contains(object, (uintptr_t)gnu_get_libc_version))
        return "libc";
    return wf_elf_contains(object, getauxval(AT_BASE)) ? "ld.so" : NULL;
}

static bool is_python(const struct wf_elf_object *object)
{
    return wf_elf_contains(object, got.python);
}

static const char *path_of(const struct wf_elf_object *object)
{
    return object->name[0] != '\0' ? object->name : got.executable_path;
}

/* CPython's own locks and identities must be ours, whatever the rules say. */
static enum wf_policy policy_of(const struct wf_elf_object *object)
{
    return is_python(object) ? WF_POLICY_PARK : wf_policy_of(path_of(object));
}

/* ---- symbols ---- */

static bool defines_a_real_function(const struct wf_elf_object *object)
{
    for (size_t i = 0; i < INDEX_SIZE; i++)
        if (got.index[i] != NULL && got.index[i]->class == WF_HOOK_ALL
            && wf_elf_contains(object, real_address(got.index[i])))
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
    const struct wf_hook *hook = *index_entry(object->strings + symbol->st_name, false);
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

/* ---- slots ---- */

/* The hook that imports of `name` shall reach in this object, or NULL. */
static const struct wf_hook *hook_for(const struct wf_elf_object *object, const char *name)
{
    return *index_entry(name, is_python(object));
}

/* The real function, by a way that does not lead through a slot which leads to the hook: not by the PLT of the
 * object, and not by a stub of the executable. */
static uintptr_t without_hook(const struct wf_elf_object *object, const struct wf_hook *hook,
                              uintptr_t before)
{
    return wf_elf_contains(object, before) || is_stub(before) ? real_address(hook) : before;
}

/* What a slot shall hold under a policy.  `before`: what it held without us. */
static uintptr_t wanted(const struct wf_elf_object *object, const struct wf_hook *hook,
                        enum wf_policy policy, uintptr_t before)
{
    if (hook->class == WF_HOOK_THREAD_LOCAL)
        return policy == WF_POLICY_OWN_THREAD_LOCALS ? hook_address(hook) : before;
    if (hook->class == WF_HOOK_OFFLOAD)
        return policy == WF_POLICY_OFFLOAD ? hook_address(hook) : before;
    switch (policy) {
    case WF_POLICY_RELEASE_ONLY: return thunk_address(hook);
    case WF_POLICY_EXCLUDE:      return without_hook(object, hook, before);
    default:                     return hook_address(hook);
    }
}

/* Did we write what was found in a slot, or ld.so, from a symbol that we had rewritten? */
static bool is_our_doing(const struct wf_caught_slot *caught, const struct wf_hook *hook,
                         uintptr_t found)
{
    return found == hook_address(hook) || (caught != NULL && found == caught->after);
}

/* What the slot held without us. */
static uintptr_t held_before(const struct wf_caught_slot *caught, const struct wf_hook *hook,
                             uintptr_t found)
{
    if (!is_our_doing(caught, hook, found))
        return found;
    return caught != NULL ? caught->before : real_address(hook);
}

/* Recorded first, stored after: whatever fails, uninstall knows of every slot that we changed. */
static bool catch_slot(const struct wf_elf_object *object, struct wf_caught_object *record,
                       uintptr_t *slot, const struct wf_hook *hook)
{
    uintptr_t found = load(slot);
    struct wf_caught_slot *caught = wf_record_slot(record, slot);
    uintptr_t before = held_before(caught, hook, found);
    uintptr_t value = wanted(object, hook, record->policy, before);

    if (found == before && (value == before || wf_elf_is_offset(object, found)))
        return true;
    if (caught == NULL && (caught = wf_record_add_slot(record, slot)) == NULL) {
        got.failure = "out of memory for the record of slots";
        return false;
    }
    caught->before = before;
    if (found != value) {
        if (!open_page(object, slot))
            return false;
        store(slot, value);
    }
    caught->after = value;
    return true;
}

static bool has_thread_locals(const struct wf_elf_object *object)
{
    for (size_t i = 0; i < object->segment_count; i++)
        if (object->segments[i].p_type == PT_TLS)
            return true;
    return false;
}

/* The object finds its thread-local variables without asking anybody: by an offset from the thread pointer, or by a
 * descriptor, on a processor where we do not answer for these (-mtls-dialect=gnu2). */
static void note_unkept(const struct wf_elf_object *object)
{
    const char *slash = strrchr(object->name, '/');
    snprintf(got.unkept, sizeof got.unkept, "%s", slash != NULL ? slash + 1 : object->name);
}

/* What a hook for descriptors is to know of one. */
static bool note_descriptor(const struct wf_elf_object *object, const struct wf_elf_import *import,
                            const struct wf_hook *hook)
{
    if (hook_address(hook) != (uintptr_t)WF_CPU_TLS_RESOLVER || wf_tls_descriptor_note(object, import))
        return true;
    got.failure = "too many descriptors of thread-local variables";
    return false;
}

static bool catch_slots(const struct wf_elf_object *object)
{
    struct wf_elf_import import = {0};
    bool asks = false;
    if (exemption(object) != NULL)
        return true;
    struct wf_caught_object *record = wf_record_find_or_add(object);
    if (record == NULL) {
        got.failure = "out of memory for the record of objects";
        return false;
    }
    record->loaded = true;
    record->complete = false;
    record->policy = policy_of(object);
    while (wf_elf_next_import(object, &import)) {
        const struct wf_hook *hook = hook_for(object, import.name);
        bool for_variables = hook != NULL && hook->class == WF_HOOK_THREAD_LOCAL;
        if (for_variables && record->policy == WF_POLICY_OWN_THREAD_LOCALS
            && !note_descriptor(object, &import, hook))
            return false;
        if (hook != NULL && !catch_slot(object, record, import.slot, hook))
            return false;
        asks = asks || for_variables;
    }
    if (record->policy == WF_POLICY_OWN_THREAD_LOCALS && !asks && has_thread_locals(object))
        note_unkept(object);
    record->complete = true;
    return true;
}

/* For a rescan, since a program may load hundreds of objects one by one.  Once something has been unloaded, what
 * has a record may be another object at the same place (D5). */
static bool catch_new_slots(const struct wf_elf_object *object)
{
    struct wf_caught_object *record = wf_record_find(object);
    if (record == NULL || !record->complete || got.unloaded)
        return catch_slots(object);
    record->loaded = true;
    return true;
}

static void release_slot(const struct wf_elf_object *object, const struct wf_caught_slot *caught,
                         uintptr_t *slot, const struct wf_hook *hook)
{
    uintptr_t found = load(slot);
    uintptr_t before = held_before(caught, hook, found);
    if (found != before && open_page(object, slot))
        store(slot, before);
}

/* Looks at every slot, not only at the recorded ones: any may have been bound to a hook since. */
static bool release_slots(const struct wf_elf_object *object)
{
    struct wf_elf_import import = {0};
    const struct wf_caught_object *record = wf_record_find(object);
    if (exemption(object) != NULL)
        return true;
    while (wf_elf_next_import(object, &import)) {
        const struct wf_hook *hook = hook_for(object, import.name);
        if (hook != NULL)
            release_slot(object, wf_record_slot(record, import.slot), import.slot, hook);
    }
    return true;
}

/* ---- what is hooked ---- */

static bool leads_to(const struct wf_hook *hook, uintptr_t value)
{
    return value == hook_address(hook) || value == thunk_address(hook);
}

struct telling {
    void (*tell)(const struct wf_got_object *object, void *arg);
    void *arg;
};

static int describe_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    const struct telling *telling = context;
    struct wf_elf_object object;
    struct wf_elf_import import = {0};

    if (!wf_elf_read(&object, info))
        return GO_ON;
    struct wf_got_object told = {
        .path = path_of(&object), .exempt = exemption(&object), .policy = policy_of(&object)};
    while (told.exempt == NULL && wf_elf_next_import(&object, &import)) {
        const struct wf_hook *hook = hook_for(&object, import.name);
        if (hook == NULL || !leads_to(hook, load(import.slot)))
            continue;
        told.slots++;
        told.hooked[hook - got.hooks] = true;
    }
    telling->tell(&told, telling->arg);
    return GO_ON;
}

/* Only looks, so it need not wait for what is being loaded. */
void wf_got_describe(void (*tell)(const struct wf_got_object *object, void *arg), void *arg)
{
    struct telling telling = {tell, arg};
    pthread_mutex_lock(&got.lock);
    dl_iterate_phdr(describe_object, &telling);
    pthread_mutex_unlock(&got.lock);
}

static void count_object(const struct wf_caught_object *object, void *arg)
{
    struct wf_got_report *report = arg;
    size_t ours = 0;
    if (object->policy == WF_POLICY_EXCLUDE)
        return;
    for (size_t i = 0; i < object->count; i++)
        ours += object->slots[i].after != object->slots[i].before;
    report->slots += ours;
    report->objects += ours > 0;
}

struct wf_got_report wf_got_report(void)
{
    struct wf_got_report report = {0};
    pthread_mutex_lock(&got.lock);
    report.symbols = got.symbols;
    report.unkept = got.unkept[0] != '\0' ? got.unkept : NULL;
    wf_record_each(count_object, &report);
    pthread_mutex_unlock(&got.lock);
    return report;
}

/* ---- on, off, and again ---- */

static void undo(void)
{
    got.installed = false; /* no rescan catches again what is being released */
    visit_all(unhook_symbols, release_slots, pthread_mutex_lock);
    got.unkept[0] = '\0';
}

int wf_got_install(const struct wf_hook *hooks, size_t count, const void *python,
                   const char **error)
{
    got.failure = "hooks are installed already";
    if (!got.installed && index_hooks(hooks, count)) {
        got.python = (uintptr_t)python;
        if (visit_all(hook_symbols, catch_slots, pthread_mutex_lock)) {
            got.installed = true;
            return 0;
        }
        undo();
    }
    *error = got.failure;
    return -1;
}

/* Those that are installed are met again, and found to be so. */
int wf_got_extend(size_t count, const char **error)
{
    pthread_mutex_lock(&got.lock);
    bool indexed = index_hooks(got.hooks, count);
    pthread_mutex_unlock(&got.lock);
    if (indexed && visit_all(hook_symbols, catch_slots, pthread_mutex_lock))
        return 0;
    *error = got.failure;
    return -1;
}

void wf_got_uninstall(void)
{
    if (got.installed)
        undo();
}

/* Every object tells the same, so that a walk of one is enough. */
static int measure_one(struct dl_phdr_info *info, size_t size, void *context)
{
    measure(info, size, context);
    return 1;
}

/* Whoever has the lock is walking, and done in a moment.  But he may be us (an allocator that looks up a symbol
 * while we allocate), or wait for us (in somebody's callback of dl_iterate_phdr we have ld.so's
 * lock): then the news are left to the next rescan. */
static int take_if_installed(pthread_mutex_t *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    int error = pthread_mutex_timedlock(lock, &until);
    if (error != 0 || got.installed)
        return error;
    pthread_mutex_unlock(lock);
    return ECANCELED;
}

void wf_got_rescan(void)
{
    struct walk now = {0};
    if (!got.installed)
        return;
    dl_iterate_phdr(measure_one, &now);
    if (now.adds != got.adds || now.subs != got.subs)
        visit_all(catch_new_slots, NULL, take_if_installed);
}

int wf_got_set_policy(const char *pattern, enum wf_policy policy, const char **error)
{
    pthread_mutex_lock(&got.lock);
    bool made = wf_policy_set(pattern, policy);
    got.unkept[0] = '\0'; /* the walk finds out again */
    pthread_mutex_unlock(&got.lock);
    got.failure = "out of memory for the rule";
    if (made && (!got.installed || visit_all(catch_slots, NULL, pthread_mutex_lock)))
        return 0;
    *error = got.failure;
    return -1;
}

void wf_got_before_fork(void)
{
    pthread_mutex_lock(&got.lock);
}

void wf_got_after_fork(void)
{
    pthread_mutex_unlock(&got.lock);
}
