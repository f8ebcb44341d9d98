/* test_got.c - does every way of calling a function reach its hook, and is every byte put back?
 *
 * The test, got.c's object and the objects it hooks are four different files, as in a
 * Python process.  The program is built twice, at a fixed address too: then its address of
 * fsync is a stub of its own, and the address of fsync for everybody else.
 *
 * Memory is compared, not slots: the writable segments of the helpers and the symbol
 * tables of libc and the provider are copied before and compared after, so the test shares no
 * idea of what a slot is with the code it tests.
 */
#include "got_helper.h"
#include "got_ours.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int provided(void);
extern volatile int resolving; /* see got_slow.c */

static const struct got_ours *ours;
static char folder[4096];
static const char *test_name;
static int failed;

#define CHECK(fact)                                                                      \
    ((fact) ? (void)0                                                                    \
            : (void)(failed++, printf("%s:%d: %s: %s\n", __FILE__, __LINE__, test_name, #fact)))

/* ---- helpers' helpers ---- */

static void *open_object(const char *name, int mode)
{
    char path[sizeof folder + 80];
    snprintf(path, sizeof path, "%s/%s.so", folder, name);
    void *handle = dlopen(path, mode);
    if (handle == NULL) {
        printf("%s\n", dlerror());
        exit(1);
    }
    return handle;
}

static void *symbol(void *handle, const char *name)
{
    void *address = dlsym(handle, name);
    if (address == NULL) {
        printf("%s\n", dlerror());
        exit(1);
    }
    return address;
}

/* Calls a function of a helper; how many hooks were reached on the way? */
static long hooked(void *handle, const char *function)
{
    long before = *ours->calls;
    int (*call)(void) = (int (*)(void))symbol(handle, function);
    call();
    return *ours->calls - before;
}

/* Of the ways to reach getppid, how many meet the hook? */
static long hooked_ways(void *handle)
{
    return hooked(handle, "helper_call") + hooked(handle, "helper_call_pointer") +
           hooked(handle, "helper_call_table") + hooked(handle, "helper_call_constant");
}

enum { WAYS = 4 };

static const void *no_python(void)
{
    return &failed; /* in the executable, which imports nothing of class PYTHON */
}

static void install(const void *python)
{
    const char *error = "none";
    int status = ours->install(ours->hooks, ours->count, python, &error);
    CHECK(status == 0);
    if (status != 0)
        printf("install: %s\n", error);
}

static struct helper_table *table_of(void *handle)
{
    return symbol(handle, "helper_table");
}

/* At a fixed address, taking an address in code (not in data) is what makes the stub.  Not inlined,
 * because the compiler believes in slots that never change, and would read this one once for both
 * calls of a test. */
__attribute__((noinline)) static int call_fsync_by_address(void)
{
    int (*volatile function)(int) = fsync;
    return function(-1);
}

static pid_t somebody_elses(void)
{
    return getppid();
}

/* ---- memory, before and after ---- */

struct region {
    const unsigned char *start;
    unsigned char *copy;
    size_t size;
};

static struct region regions[64];
static size_t region_count;

/* Helpers and provider: what can be written.  libc and provider: the segment with the symbols. */
static int copy_segments(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    bool helper = strstr(info->dlpi_name, "helper_") != NULL;
    bool provider = strstr(info->dlpi_name, "provider.so") != NULL;
    bool libc = strstr(info->dlpi_name, "/libc.so.6") != NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        bool wanted = segment->p_flags & PF_W ? helper || provider
                                              : segment->p_vaddr == 0 && (libc || provider);
        if (segment->p_type != PT_LOAD || !wanted)
            continue;
        struct region *region = &regions[region_count++];
        region->start = (const unsigned char *)info->dlpi_addr + segment->p_vaddr;
        region->size = segment->p_memsz;
        region->copy = malloc(region->size);
        memcpy(region->copy, region->start, region->size);
    }
    return 0;
}

static void copy_memory(void)
{
    region_count = 0;
    dl_iterate_phdr(copy_segments, NULL);
}

/* How many words differ from the copy? */
static size_t changed_words(void)
{
    size_t changed = 0;
    for (size_t i = 0; i < region_count; i++)
        for (size_t at = 0; at + sizeof(void *) <= regions[i].size; at += sizeof(void *))
            changed += memcmp(regions[i].start + at, regions[i].copy + at, sizeof(void *)) != 0;
    return changed;
}

static void drop_copy(void)
{
    for (size_t i = 0; i < region_count; i++)
        free(regions[i].copy);
    region_count = 0;
}

static int count_hooks(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    if (strstr(info->dlpi_name, "helper_") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W))
            continue;
        void *const *word = (void *const *)(info->dlpi_addr + segment->p_vaddr);
        for (size_t n = segment->p_memsz / sizeof *word; n > 0; n--, word++)
            for (size_t h = 0; h < ours->count; h++)
                *(size_t *)context += *word == ours->hooks[h].hook;
    }
    return 0;
}

/* How many words of the helpers hold the address of a hook? */
static size_t hooks_in_memory(void)
{
    size_t count = 0;
    dl_iterate_phdr(count_hooks, &count);
    return count;
}

/* A sum over all pages of all files mapped: splitting a mapping leaves it as it is, changing the
 * protection of a page does not. */
static uint64_t protections(void)
{
    char line[4352], permissions[5];
    unsigned long lo, hi, inode;
    uint64_t sum = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &lo, &hi, permissions, &inode) == 4 && inode)
            for (unsigned long page = lo; page < hi; page += 4096)
                for (int i = 0; i < 4; i++)
                    sum += (page + 1) * (uint64_t)permissions[i] * (i + 1) * 2654435761u;
    fclose(maps);
    return sum;
}

/* ---- tests ---- */

static const char *const flavours[] = {"lazy", "now", "noplt"};
enum { FLAVOURS = sizeof flavours / sizeof *flavours };

static void *open_flavour(const char *when, const char *flavour, int mode)
{
    char name[64];
    snprintf(name, sizeof name, "helper_%s_%s", when, flavour);
    return open_object(name, mode);
}

static void test_objects_loaded_before(void)
{
    void *helpers[FLAVOURS];
    for (int i = 0; i < FLAVOURS; i++)
        helpers[i] = open_flavour("early", flavours[i], RTLD_LAZY);
    copy_memory();
    uint64_t before = protections();

    install(no_python());
    CHECK(changed_words() > 0);
    CHECK(protections() == before);
    for (int i = 0; i < FLAVOURS; i++) {
        CHECK(hooked_ways(helpers[i]) == WAYS);
        CHECK(hooked(helpers[i], "helper_call_fsync") == 1);
        CHECK(hooked(helpers[i], "helper_call_sem_post") == 1);
        CHECK(hooked(helpers[i], "helper_call_provided") == 1);
    }

    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
    CHECK(protections() == before);
    for (int i = 0; i < FLAVOURS; i++)
        CHECK(hooked_ways(helpers[i]) == 0);
    drop_copy();
    for (int i = 0; i < FLAVOURS; i++)
        dlclose(helpers[i]);
}

static void test_every_byte_is_restored(void)
{
    void *helpers[FLAVOURS];
    for (int i = 0; i < FLAVOURS; i++)
        helpers[i] = open_flavour("early", flavours[i], RTLD_LAZY);
    copy_memory();
    for (int round = 0; round < 3; round++) {
        install(no_python());
        CHECK(hooks_in_memory() > 0);
        /* Lazily bound slots hold the hook, so calling binds nothing. */
        for (int i = 0; i < FLAVOURS; i++)
            CHECK(hooked(helpers[i], "helper_call") == 1);
        ours->uninstall();
        CHECK(changed_words() == 0);
    }
    drop_copy();
    for (int i = 0; i < FLAVOURS; i++)
        dlclose(helpers[i]);
}

static void test_objects_loaded_after(int mode)
{
    copy_memory();
    install(no_python());
    for (int i = 0; i < FLAVOURS; i++) {
        void *late = open_flavour("late", flavours[i], mode);
        CHECK(hooked_ways(late) == WAYS);
        CHECK(hooked(late, "helper_call_sem_post") == 1);
        CHECK(hooked(late, "helper_call_fsync") == 1);
        CHECK(hooked(late, "helper_call_provided") == 1);
        CHECK(hooked(late, "helper_call_group") == 0);
    }
    CHECK(hooks_in_memory() > 0);
    ours->uninstall();
    CHECK(changed_words() == 0); /* libc's symbols */
    CHECK(hooks_in_memory() == 0);
    for (int i = 0; i < FLAVOURS; i++) {
        void *late = open_flavour("late", flavours[i], RTLD_LAZY);
        CHECK(hooked_ways(late) == 0);
        dlclose(late);
        dlclose(late);
    }
    drop_copy();
}

static void test_loaded_after_lazily(void)
{
    test_objects_loaded_after(RTLD_LAZY);
}

static void test_loaded_after_now(void)
{
    test_objects_loaded_after(RTLD_NOW);
}

static void test_loaded_after_deepbind(void)
{
#ifndef __SANITIZE_ADDRESS__ /* which refuses it */
    test_objects_loaded_after(RTLD_LAZY | RTLD_DEEPBIND);
#endif
}

static void test_dlsym_finds_the_hook(void)
{
    const struct wf_hook *hook = &ours->hooks[0];
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *real = dlsym(RTLD_DEFAULT, "getppid");
    CHECK(real == *hook->real);
    install(no_python());
    CHECK(dlsym(RTLD_DEFAULT, "getppid") == hook->hook);
    CHECK(dlsym(libc, "getppid") == hook->hook);
    CHECK(dlsym(RTLD_DEFAULT, "getpgrp") == *ours->hooks[1].real);
    ours->uninstall();
    CHECK(dlsym(RTLD_DEFAULT, "getppid") == real);
    CHECK(dlsym(libc, "getppid") == real);
    dlclose(libc);
}

static void test_every_version_of_a_symbol(void)
{
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.34"};
    const struct wf_hook *hook = &ours->hooks[3];
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *real = dlsym(libc, "sem_post");
    bool intercepted = real != *hook->real; /* as sanitizers do; then libc's is none of ours */
    for (int i = 0; i < 3; i++) {
        void *before = dlvsym(libc, "sem_post", versions[i]);
        install(no_python());
        void *installed = dlvsym(libc, "sem_post", versions[i]);
        ours->uninstall();
        CHECK(installed == (before == real && !intercepted ? hook->hook : before));
        CHECK(dlvsym(libc, "sem_post", versions[i]) == before);
    }
    dlclose(libc);
}

static void test_python_hooks_stay_in_python(void)
{
    void *python = open_flavour("early", "now", RTLD_LAZY);
    void *other = open_flavour("early", "lazy", RTLD_LAZY);
    copy_memory();
    install(symbol(python, "helper_call"));
    CHECK(hooked(python, "helper_call_group") == 1);
    CHECK(hooked(python, "helper_call") == 1);
    ours->uninstall();
    CHECK(changed_words() == 0);
    CHECK(hooked(python, "helper_call_group") == 0);

    install(symbol(python, "helper_call"));
    CHECK(hooked(other, "helper_call_group") == 0);
    CHECK(hooked(other, "helper_call") == 1);
    ours->uninstall();
    drop_copy();
    dlclose(other);
    dlclose(python);
}

/* Everywhere but in CPython's object, and never by way of libc's table. */
static void test_library_hooks_stay_out_of_python(void)
{
    void *python = open_flavour("early", "now", RTLD_LAZY);
    void *other = open_flavour("early", "lazy", RTLD_LAZY);
    void *real = dlsym(RTLD_DEFAULT, "getuid");
    copy_memory();
    install(symbol(python, "helper_call"));
    CHECK(hooked(python, "helper_call_user") == 0);
    CHECK(hooked(other, "helper_call_user") == 1);
    CHECK(dlsym(RTLD_DEFAULT, "getuid") == real);
    ours->uninstall();
    CHECK(changed_words() == 0);
    CHECK(hooked(other, "helper_call_user") == 0);
    drop_copy();
    dlclose(other);
    dlclose(python);
}

/* Also in tables that ld.so has made read-only (flavours "now" and "noplt"), and in an object loaded again,
 * most likely at the same place. */
static void test_rescan_catches_library_hooks(void)
{
    install(no_python());
    for (int i = 0; i < 2 * FLAVOURS; i++) {
        void *late = open_flavour("late", flavours[i / 2], RTLD_LAZY);
        uint64_t before = protections();
        CHECK(hooked(late, "helper_call_user") == 0);
        ours->rescan();
        CHECK(hooked(late, "helper_call_user") == 1);
        CHECK(protections() == before);
        dlclose(late);
    }
    ours->uninstall();
}

/* ---- policies ---- */

static void set_policy(const char *pattern, enum wf_policy policy)
{
    const char *error = "none";
    int status = ours->set_policy(pattern, policy, &error);
    CHECK(status == 0);
    if (status != 0)
        printf("set_policy: %s\n", error);
}

/* The same for other functions, all of them hooked, so that calling binds nothing but them. */
static long hooked_calls(void *handle)
{
    return hooked_ways(handle) + hooked(handle, "helper_call_fsync") +
           hooked(handle, "helper_call_provided") + hooked(handle, "helper_call_user");
}

enum { CALLS = WAYS + 3 };

/* Each helper twice: as it was loaded, and when lazily bound slots have been bound. */
static void test_excluded_objects(void)
{
    void *helpers[FLAVOURS];
    for (int i = 0; i < FLAVOURS; i++)
        helpers[i] = open_flavour("early", flavours[i], RTLD_LAZY);
    void *neighbour = open_flavour("late", "lazy", RTLD_LAZY);
    copy_memory();
    set_policy("helper_early_*.so", WF_POLICY_EXCLUDE);
    install(no_python());
    for (int i = 0; i < FLAVOURS; i++) {
        CHECK(hooked_calls(helpers[i]) == 0);
        CHECK(hooked_calls(helpers[i]) == 0);
    }
    CHECK(hooked_calls(neighbour) == CALLS);
    ours->uninstall();
    CHECK(changed_words() == 0);
    drop_copy();

    set_policy("helper_early_*.so", WF_POLICY_PARK);
    install(no_python());
    for (int i = 0; i < FLAVOURS; i++)
        CHECK(hooked_calls(helpers[i]) == CALLS);
    ours->uninstall();
    for (int i = 0; i < FLAVOURS; i++)
        dlclose(helpers[i]);
    dlclose(neighbour);
}

static void test_policy_of_what_is_loaded_and_installed(void)
{
    void *helpers[FLAVOURS];
    for (int i = 0; i < FLAVOURS; i++)
        helpers[i] = open_flavour("early", flavours[i], RTLD_LAZY);
    copy_memory();
    uint64_t before = protections();
    install(no_python());
    struct wf_got_report all = ours->report();
    for (int round = 0; round < 2; round++) {
        set_policy("helper_early_*.so", WF_POLICY_EXCLUDE);
        CHECK(hooks_in_memory() == 0);
        CHECK(ours->report().objects == all.objects - FLAVOURS);
        for (int i = 0; i < FLAVOURS; i++)
            CHECK(hooked_calls(helpers[i]) == 0);
        set_policy("helper_early_*.so", WF_POLICY_PARK);
        CHECK(ours->report().slots == all.slots);
        for (int i = 0; i < FLAVOURS; i++)
            CHECK(hooked_calls(helpers[i]) == CALLS);
    }
    set_policy("helper_early_*.so", WF_POLICY_EXCLUDE);
    ours->uninstall();
    CHECK(changed_words() == 0);
    CHECK(protections() == before);
    set_policy("helper_early_*.so", WF_POLICY_PARK);
    drop_copy();
    for (int i = 0; i < FLAVOURS; i++)
        dlclose(helpers[i]);
}

/* libc's symbol table leads to the hooks, so an excluded object gets them first and loses them then. */
static void test_excluded_objects_loaded_later(void)
{
    static const int modes[] = {RTLD_LAZY, RTLD_NOW};
    set_policy("helper_late_*.so", WF_POLICY_EXCLUDE);
    install(no_python());
    for (int i = 0; i < 2 * FLAVOURS; i++) {
        void *late = open_flavour("late", flavours[i / 2], modes[i % 2]);
        ours->rescan();
        CHECK(hooks_in_memory() == 0);
        CHECK(hooked_calls(late) == 0);
        CHECK(hooks_in_memory() == 0);
        dlclose(late);
    }
    set_policy("helper_late_*.so", WF_POLICY_PARK);
    ours->uninstall();
}

static void test_release_only_asks_at_each_call(void)
{
    for (int i = 0; i < FLAVOURS; i++) {
        void *helper = open_flavour("early", flavours[i], RTLD_LAZY);
        long (*many)(void) = (long (*)(void))symbol(helper, "helper_call_many");
        copy_memory();
        set_policy("helper_early_*", WF_POLICY_RELEASE_ONLY);
        install(no_python());
        for (int held = 0; held < 2; held++) {
            *ours->gil_held = held;
            CHECK(hooked_calls(helper) == (held ? 0 : CALLS));
            CHECK(hooked(helper, "helper_call_many") == !held);
            CHECK(many() == 12345678);
        }
        set_policy("helper_early_*", WF_POLICY_PARK);
        CHECK(hooked_calls(helper) == CALLS); /* gil_held still says yes */
        *ours->gil_held = false;
        set_policy("helper_early_*", WF_POLICY_RELEASE_ONLY);
        ours->uninstall();
        CHECK(changed_words() == 0);
        set_policy("helper_early_*", WF_POLICY_PARK);
        drop_copy();
        dlclose(helper);
    }
}

static void test_the_rule_made_last_counts(void)
{
    void *helper = open_flavour("early", "lazy", RTLD_LAZY);
    install(no_python());
    set_policy("helper_early_lazy.so", WF_POLICY_EXCLUDE);
    CHECK(hooked_calls(helper) == 0);
    set_policy("helper_*", WF_POLICY_PARK);
    CHECK(hooked_calls(helper) == CALLS);
    set_policy("*_l?zy.so", WF_POLICY_EXCLUDE);
    CHECK(hooked_calls(helper) == 0);
    set_policy("helper_*", WF_POLICY_PARK); /* made again, so it is the last again */
    CHECK(hooked_calls(helper) == CALLS);
    set_policy("helper", WF_POLICY_EXCLUDE); /* not the whole name */
    set_policy("elper_early_lazy.so", WF_POLICY_EXCLUDE);
    CHECK(hooked_calls(helper) == CALLS);
    ours->uninstall();
    dlclose(helper);
}

static void test_no_rule_is_for_python(void)
{
    void *python = open_flavour("early", "now", RTLD_LAZY);
    set_policy("helper_early_now.so", WF_POLICY_EXCLUDE);
    install(symbol(python, "helper_call"));
    CHECK(hooked_ways(python) == WAYS);
    CHECK(hooked(python, "helper_call_group") == 1);
    ours->uninstall();
    set_policy("helper_early_now.so", WF_POLICY_PARK);
    dlclose(python);
}

/* What was there before us stays there in an excluded object. */
static void test_excluded_slots_of_others(void)
{
    void *helper = open_flavour("early", "lazy", RTLD_LAZY);
    struct helper_table *table = table_of(helper);
    pid_t (*real)(void) = table->parent;
    table->parent = somebody_elses;
    install(no_python());
    set_policy("helper_early_*", WF_POLICY_EXCLUDE);
    CHECK(table->parent == somebody_elses);
    ours->uninstall();
    CHECK(table->parent == somebody_elses);
    table->parent = real;
    set_policy("helper_early_*", WF_POLICY_PARK);
    dlclose(helper);
}

static void test_failures_of_set_policy(void)
{
    void *helper = open_flavour("early", "now", RTLD_LAZY);
    const char *error = NULL;
    copy_memory();
    install(no_python());
    *ours->mprotects = 0;
    CHECK(ours->set_policy("helper_early_*", WF_POLICY_EXCLUDE, &error) == -1);
    CHECK(error != NULL);
    *ours->mprotects = -1;
    set_policy("helper_early_*", WF_POLICY_EXCLUDE);
    CHECK(hooked_calls(helper) == 0);
    ours->uninstall();
    CHECK(changed_words() == 0);
    set_policy("helper_early_*", WF_POLICY_PARK);
    drop_copy();
    dlclose(helper);
}

/* ---- what is told of objects ---- */

struct told {
    const char *wanted; /* part of a path */
    size_t objects, exempt;
    struct wf_got_object last;
};

static void remember(const struct wf_got_object *object, void *arg)
{
    struct told *told = arg;
    told->objects++;
    told->exempt += object->exempt != NULL;
    if (strstr(object->path, told->wanted) != NULL)
        told->last = *object;
}

static struct told told_of(const char *wanted)
{
    struct told told = {.wanted = wanted};
    ours->describe(remember, &told);
    CHECK(told.last.path != NULL);
    return told;
}

static void test_description(void)
{
    void *helper = open_flavour("early", "lazy", RTLD_LAZY);
    CHECK(told_of("helper_early_lazy").last.slots == 0);
    install(no_python());
    struct told told = told_of("helper_early_lazy");
    CHECK(told.last.slots == hooks_in_memory());
    CHECK(told.last.hooked[0]);  /* getppid */
    CHECK(!told.last.hooked[1]); /* getpgrp, of class PYTHON */
    CHECK(told.last.policy == WF_POLICY_PARK);
    CHECK(told.exempt == 3); /* ours, libc, ld.so */
    CHECK(told_of("/ours.so").last.exempt != NULL);
    CHECK(told_of("/test_got").last.slots > 0); /* ld.so has no name for the executable */
    set_policy("helper_early_*", WF_POLICY_EXCLUDE);
    told = told_of("helper_early_lazy");
    CHECK(told.last.slots == 0 && told.last.policy == WF_POLICY_EXCLUDE);
    set_policy("helper_early_*", WF_POLICY_PARK);
    ours->uninstall();
    dlclose(helper);
}

static void test_executable_is_hooked(void)
{
    long before = *ours->calls;
    install(no_python());
    getppid();
    provided();
    call_fsync_by_address();
    CHECK(*ours->calls == before + 3);
    ours->uninstall();
    getppid();
    provided();
    call_fsync_by_address();
    CHECK(*ours->calls == before + 3);
}

static void test_real_functions(void)
{
    for (size_t i = 0; i < ours->count; i++)
        CHECK((*ours->hooks[i].real == NULL) == (i == ours->count - 1));
    /* Through the hook, the result is the real function's. */
    install(no_python());
    CHECK(provided() == 17);
    CHECK(call_fsync_by_address() == -1);
    ours->uninstall();
}

static void test_our_own_object_is_not_hooked(void)
{
    install(no_python());
    long before = *ours->calls;
    CHECK(ours->call_getppid() == getppid());
    CHECK(*ours->calls == before + 1); /* by the test, that is */
    ours->uninstall();
}

static void test_unloaded_meanwhile(void)
{
    void *helper = open_flavour("early", "now", RTLD_LAZY);
    install(no_python());
    dlclose(helper);
    ours->uninstall(); /* writes nowhere */

    helper = open_flavour("early", "lazy", RTLD_LAZY);
    install(no_python());
    dlclose(helper);
    helper = open_flavour("early", "lazy", RTLD_LAZY); /* most likely at the same place */
    CHECK(hooked_ways(helper) == WAYS);
    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
    CHECK(hooked_ways(helper) == 0);
    dlclose(helper);
}

static void test_slots_of_others(void)
{
    void *helper = open_flavour("early", "lazy", RTLD_LAZY);
    struct helper_table *table = table_of(helper);
    pid_t (*real)(void) = table->parent;

    /* Somebody was there before us: we take the slot, and give it back. */
    table->parent = somebody_elses;
    install(no_python());
    CHECK((void *)table->parent == ours->hooks[0].hook);
    ours->uninstall();
    CHECK(table->parent == somebody_elses);

    /* Somebody came after us: the slot is his. */
    install(no_python());
    table->parent = real;
    ours->uninstall();
    CHECK(table->parent == real);

    /* ld.so has not come to the slot yet: it is ld.so's. */
    table->parent = (pid_t (*)(void))0x40;
    install(no_python());
    CHECK((uintptr_t)table->parent == 0x40);
    ours->uninstall();
    CHECK((uintptr_t)table->parent == 0x40);
    table->parent = real;
    dlclose(helper);
}

static void test_words_left_alone(void)
{
    void *helper = open_flavour("early", "lazy", RTLD_LAZY);
    struct helper_oddities *oddities = symbol(helper, "helper_oddities");
    struct helper_oddities before = *oddities;
    install(no_python());
    CHECK(memcmp(oddities, &before, sizeof before) == 0);
    ours->uninstall();
    dlclose(helper);
}

static void test_rescan(void)
{
    install(no_python());
    struct wf_got_report before = ours->report();
    CHECK(before.symbols >= 4); /* getppid, fsync, sem_post, provided */
    CHECK(before.objects >= 1);

    *ours->mprotects = 0;
    ours->rescan(); /* nothing was loaded: nothing is touched */
    CHECK(*ours->mprotects == 0);
    *ours->mprotects = -1;

    void *late = open_flavour("late", "lazy", RTLD_LAZY);
    size_t bound_by_ld_so = hooks_in_memory();
    ours->rescan();
    CHECK(hooks_in_memory() > bound_by_ld_so); /* the lazy slots are ours at once */
    struct wf_got_report after = ours->report();
    CHECK(after.objects == before.objects + 1);
    CHECK(after.slots == before.slots + hooks_in_memory());

    dlclose(late);
    ours->rescan();
    after = ours->report();
    CHECK(memcmp(&before, &after, sizeof before) == 0);

    late = open_flavour("late", "lazy", RTLD_LAZY);
    ours->rescan();
    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
    CHECK(hooked_ways(late) == 0);
    dlclose(late);
}

/* Lets the n-th call fail, for every n until none fails. */
static void fail_each(int *budget)
{
    const char *error = NULL;
    int n = 0;
    uint64_t before = protections();
    for (;; n++) {
        *budget = n;
        if (ours->install(ours->hooks, ours->count, no_python(), &error) == 0)
            break;
        *budget = -1;
        CHECK(error != NULL);
        CHECK(changed_words() == 0);
        CHECK(protections() == before);
        CHECK(ours->report().slots == 0 && ours->report().symbols == 0);
    }
    CHECK(n > 0);
    *budget = -1;
    ours->uninstall();
    CHECK(changed_words() == 0);
}

static void test_failures_leave_nothing(void)
{
    void *helpers[FLAVOURS];
    for (int i = 0; i < FLAVOURS; i++)
        helpers[i] = open_flavour("early", flavours[i], RTLD_LAZY);
    copy_memory();
    fail_each(ours->reallocs);
    fail_each(ours->mprotects);
    drop_copy();
    for (int i = 0; i < FLAVOURS; i++)
        dlclose(helpers[i]);
}

static void test_failed_rescan_is_repeated(void)
{
    install(no_python());
    struct wf_got_report before = ours->report();
    void *late = open_flavour("late", "lazy", RTLD_LAZY);
    *ours->reallocs = 0;
    ours->rescan();
    *ours->reallocs = -1;
    ours->rescan();
    CHECK(ours->report().slots == before.slots + hooks_in_memory());
    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
    dlclose(late);
}

static void test_misuse(void)
{
    const char *error = NULL;
    ours->uninstall();
    ours->rescan();
    install(no_python());
    CHECK(ours->install(ours->hooks, ours->count, no_python(), &error) == -1);
    CHECK(error != NULL);
    CHECK(dlsym(RTLD_DEFAULT, "getppid") == ours->hooks[0].hook); /* still installed */
    ours->resolve(ours->hooks, ours->count);
    CHECK(*ours->hooks[0].real != ours->hooks[0].hook);
    ours->uninstall();
    CHECK(ours->install(ours->hooks, 100000, no_python(), &error) == -1);
}

static volatile bool stop;

static void *call_in_a_loop(void *function)
{
    pid_t (*call)(void) = (pid_t (*)(void))function;
    long wrong = 0;
    while (!stop)
        wrong += call() != getppid();
    return (void *)wrong;
}

static void test_other_threads_never_notice(void)
{
    void *helper = open_flavour("early", "now", RTLD_LAZY);
    pthread_t thread;
    void *wrong;
    stop = false;
    pthread_create(&thread, NULL, call_in_a_loop, symbol(helper, "helper_call"));
    for (int i = 0; i < 50; i++) {
        install(no_python());
        ours->uninstall();
    }
    stop = true;
    pthread_join(thread, &wrong);
    CHECK(wrong == NULL);
    dlclose(helper);
}

static void *load_slowly(void *unused)
{
    (void)unused;
    return open_object("slow", RTLD_NOW);
}

/* Calls `act` while another thread is in the middle of dlopen, and returns what that loaded. */
static void *while_loading(void (*act)(void))
{
    pthread_t thread;
    void *loaded;
    resolving = 0;
    pthread_create(&thread, NULL, load_slowly, NULL);
    while (resolving == 0)
        sched_yield();
    act();
    pthread_join(thread, &loaded);
    return loaded;
}

static void install_all(void)
{
    install(no_python());
}

/* The danger: ld.so and we both protect the pages of an object, and both write to them. */
static void test_another_thread_loads_meanwhile(void)
{
    void *slow = while_loading(install_all);
    CHECK(hooked(slow, "slow_parent") == 1);
    dlclose(slow);

    slow = while_loading(ours->rescan);
    CHECK(hooked(slow, "slow_parent") == 1);
    CHECK(hooked(slow, "slow_user") == 1); /* waited for, and its read-only table written to */
    dlclose(slow);

    slow = while_loading(ours->uninstall);
    CHECK(hooked(slow, "slow_parent") == 0);
    dlclose(slow);
}

/* As dlsym's hook does, between loading and the first call.  How many calls met no hook? */
static void *load_and_rescan(void *flavour)
{
    long missed = 0;
    for (int i = 0; i < 200; i++) {
        void *late = open_flavour("late", flavour, RTLD_LAZY);
        uid_t (*call)(void) = (uid_t (*)(void))symbol(late, "helper_call_user");
        ours->rescan();
        long before = ours->calls_here();
        call();
        missed += ours->calls_here() == before;
        dlclose(late);
    }
    return (void *)missed;
}

static void test_many_threads_load_and_rescan(void)
{
    pthread_t threads[FLAVOURS];
    install(no_python());
    for (int i = 0; i < FLAVOURS; i++)
        pthread_create(&threads[i], NULL, load_and_rescan, (void *)flavours[i]);
    for (int i = 0; i < FLAVOURS; i++) {
        void *missed;
        pthread_join(threads[i], &missed);
        CHECK(missed == NULL);
    }
    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
}

/* In a process of its own, with got_preload.c before libc. */
static void test_interposer_stays_in_the_chain(void)
{
    long *preload_calls = symbol(RTLD_DEFAULT, "preload_calls");
    void *early = open_flavour("early", "now", RTLD_LAZY);
    CHECK(*ours->hooks[0].real == symbol(open_object("preload", RTLD_LAZY), "getppid"));
    copy_memory();
    install(no_python());
    void *late = open_flavour("late", "lazy", RTLD_LAZY);
    CHECK(hooked_ways(early) == WAYS);
    CHECK(hooked_ways(late) == WAYS);
    CHECK(*preload_calls == 2 * WAYS);
    CHECK(hooked(RTLD_DEFAULT, "preload_call_itself") == 0); /* its own function, no import */
    CHECK(*preload_calls == 2 * WAYS + 1);
    ours->uninstall();
    CHECK(hooks_in_memory() == 0);
    CHECK(hooked_ways(early) + hooked_ways(late) == 0);
    CHECK(*preload_calls == 4 * WAYS + 1);
    drop_copy();
}

static void test_interposer(void)
{
    char preload[sizeof folder + 64];
    int status = -1;
    snprintf(preload, sizeof preload, "%s/preload.so", folder);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", preload, 1);
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
        execl("/proc/self/exe", "test_got", folder, "preloaded", NULL);
        _exit(127);
    }
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void run(const char *name, void (*test)(void))
{
    int failed_before = failed;
    test_name = name;
    test();
    if (failed == failed_before)
        printf("ok %s\n", name);
}

#define RUN(test) run(#test, test)

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    snprintf(folder, sizeof folder, "%s", argv[1]);
    ours = symbol(open_object("ours", RTLD_NOW), "got_ours");
    ours->resolve(ours->hooks, ours->count);

    if (argc == 3) {
        RUN(test_interposer_stays_in_the_chain);
        return failed != 0;
    }
    RUN(test_real_functions);
    RUN(test_our_own_object_is_not_hooked);
    RUN(test_objects_loaded_before);
    RUN(test_every_byte_is_restored);
    RUN(test_loaded_after_lazily);
    RUN(test_loaded_after_now);
    RUN(test_loaded_after_deepbind);
    RUN(test_dlsym_finds_the_hook);
    RUN(test_every_version_of_a_symbol);
    RUN(test_python_hooks_stay_in_python);
    RUN(test_library_hooks_stay_out_of_python);
    RUN(test_rescan_catches_library_hooks);
    RUN(test_excluded_objects);
    RUN(test_policy_of_what_is_loaded_and_installed);
    RUN(test_excluded_objects_loaded_later);
    RUN(test_release_only_asks_at_each_call);
    RUN(test_the_rule_made_last_counts);
    RUN(test_no_rule_is_for_python);
    RUN(test_excluded_slots_of_others);
    RUN(test_failures_of_set_policy);
    RUN(test_description);
    RUN(test_executable_is_hooked);
    RUN(test_unloaded_meanwhile);
    RUN(test_slots_of_others);
    RUN(test_words_left_alone);
    RUN(test_rescan);
    RUN(test_failures_leave_nothing);
    RUN(test_failed_rescan_is_repeated);
    RUN(test_misuse);
    RUN(test_other_threads_never_notice);
    RUN(test_another_thread_loads_meanwhile);
    RUN(test_many_threads_load_and_rescan);
    RUN(test_interposer);
    return failed != 0;
}
