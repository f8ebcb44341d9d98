/* got_ours.c - a set of hooks that count and pass through, and failures on demand.
 *
 * Linked with got.c, whose realloc and mprotect are renamed to the two below.
 */
#include "got_ours.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* got.c puts it into descriptors of thread-local variables, of libraries with a policy that none here has. */
void wf_tls_resolver(void);

void wf_tls_resolver(void)
{
    abort();
}

int provided(void);
long provided_many(int first, ...);

static long calls;
static __thread long calls_here;
static int reallocs = -1, mprotects = -1;
static bool gil_held;

static pid_t (*real_getppid)(void);
static pid_t (*real_getpgrp)(void);
static int (*real_fsync)(int);
static int (*real_sem_post)(sem_t *);
static int (*real_provided)(void);
static uid_t (*real_getuid)(void);
static long (*real_provided_many)(int, int, int, int, int, int, int, int);
static void *real_missing;

/* Tests call hooks from several threads. */
static void count_call(void)
{
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    calls_here++;
}

static long count_calls_here(void)
{
    return calls_here;
}

static int call_getppid(void)
{
    return getppid();
}

static pid_t hook_getppid(void)
{
    count_call();
    return real_getppid();
}

static pid_t hook_getpgrp(void)
{
    count_call();
    return real_getpgrp();
}

static int hook_fsync(int fd)
{
    count_call();
    return real_fsync(fd);
}

static int hook_sem_post(sem_t *sem)
{
    count_call();
    return real_sem_post(sem);
}

static int hook_provided(void)
{
    count_call();
    return real_provided();
}

static uid_t hook_getuid(void)
{
    count_call();
    return real_getuid();
}

static long hook_provided_many(int a, int b, int c, int d, int e, int f, int g, int h)
{
    count_call();
    return real_provided_many(a, b, c, d, e, f, g, h);
}

static void hook_missing(void)
{
    abort(); /* nobody can call it */
}

static const struct wf_hook hooks[] = {
    {"getppid", hook_getppid, (void **)&real_getppid, WF_HOOK_ALL},
    {"getpgrp", hook_getpgrp, (void **)&real_getpgrp, WF_HOOK_PYTHON},
    {"fsync", hook_fsync, (void **)&real_fsync, WF_HOOK_ALL},
    {"sem_post", hook_sem_post, (void **)&real_sem_post, WF_HOOK_ALL},
    {"provided", hook_provided, (void **)&real_provided, WF_HOOK_ALL},
    {"getuid", hook_getuid, (void **)&real_getuid, WF_HOOK_LIBRARY},
    {"provided_many", hook_provided_many, (void **)&real_provided_many, WF_HOOK_ALL},
    {"no_libc_has_this", hook_missing, &real_missing, WF_HOOK_ALL},
};

bool wf_got_gil_is_held(void)
{
    return gil_held;
}

/* One call fails, and those after it succeed again, as undoing what was done needs some. */
static bool spend(int *budget)
{
    return *budget < 0 || (*budget)-- > 0;
}

void *ours_realloc(void *old, size_t size)
{
    return spend(&reallocs) ? realloc(old, size) : NULL;
}

int ours_mprotect(void *address, size_t size, int protection)
{
    /* Only granting can fail: a page that stays writable is no failure of install. */
    if ((protection & PROT_WRITE) == 0 || spend(&mprotects))
        return mprotect(address, size, protection);
    errno = ENOMEM;
    return -1;
}

__attribute__((visibility("default"))) const struct got_ours got_ours = {
    .hooks = hooks,
    .count = sizeof hooks / sizeof *hooks,
    .resolve = wf_got_resolve,
    .install = wf_got_install,
    .rescan = wf_got_rescan,
    .uninstall = wf_got_uninstall,
    .report = wf_got_report,
    .set_policy = wf_got_set_policy,
    .describe = wf_got_describe,
    .call_getppid = call_getppid,
    .calls_here = count_calls_here,
    .calls = &calls,
    .reallocs = &reallocs,
    .mprotects = &mprotects,
    .gil_held = &gil_held,
};
