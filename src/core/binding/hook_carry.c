/* hook_carry.c - which released regions are carried away; carry.h has the idea.
 *
 * The policy "offload" says of which libraries.  Among their regions only those are worth it that last: two hand-overs
 * between OS threads take 2 us and more, up to a hundred on a busy machine; hashing 2 KB takes 5.  A region is
 * known by its *site*, the place that lets go of the GIL, and how long it lasts is guessed from how long it
 * lasted before: what was long once is expected to be long again for a while, since a long region that was not carried
 * costs more than ten that were carried in vain.  The first of a site is carried.
 *
 * A region that turns out not to compute goes home early: to wait for one of CPython's locks, which parks the green
 * thread there, and to call Python code, which must find its thread state.  So CPython's ways to the GIL are hooked in all
 * libraries, not in those with the policy only.
 *
 * Who wants nobody to run meanwhile (weft.no_preempt) is not carried, nor is anybody while a seed decides who runs.
 */
#include "carry.h"

#include "hook.h"

#define WORTH_NS (WF_NS_PER_MS / 10)

/* What a site's guess loses with each shorter region: 1/8.  After 10 ms, some 35 short ones until it is not worth it. */
#define FORGET 8

static PyThreadState *(*real_PyEval_SaveThread)(void);
static void (*real_PyEval_RestoreThread)(PyThreadState *);
static void (*real_PyEval_AcquireThread)(PyThreadState *);
static PyGILState_STATE (*real_PyGILState_Ensure)(void);
static PyThreadState *(*real_PyGILState_GetThisThreadState)(void);
static int (*real_PyThread_acquire_lock)(PyThread_type_lock, int);
static PyLockStatus (*real_PyThread_acquire_lock_timed)(PyThread_type_lock, PY_TIMEOUT_T, int);

/* {=== Sites; guarded by the GIL ===} */

struct site {
    int64_t usual_ns; /* a region that begins here is expected to last so long; 0: nobody knows */
};

/* By address; those that fall together share a guess. */
#define SITES 1021
static struct site sites[SITES];

static struct site *site_at(const void *address)
{
    return &sites[(uintptr_t)address % SITES];
}

static bool is_worth_it(const struct site *site)
{
    return site->usual_ns == 0 || site->usual_ns >= WORTH_NS;
}

static void learn(struct site *site, int64_t lasted_ns)
{
    int64_t remembered_ns = site->usual_ns - site->usual_ns / FORGET;

    site->usual_ns = lasted_ns > remembered_ns ? lasted_ns : remembered_ns;
    site->usual_ns += site->usual_ns == 0;
}

/* {=== A region ===} */

/* The region in which this OS thread, or the fiber that it carries, is; of use only if it is still the same fiber's and
 * nobody has run in between. */
static __thread struct region {
    struct site *site; /* NULL: none, or one that waits */
    struct wf_fiber *fiber;
    uint64_t switches;
    int64_t began_ns;
} here __attribute__((tls_model("initial-exec")));

static void __attribute__((noinline)) note_begin(struct wf_worker *worker, struct site *site)
{
    here = (struct region){site, worker->current, worker->switches, wf_real_now_ns()};
}

static void __attribute__((noinline)) note_carried(struct site *site)
{
    here = (struct region){.site = site, .fiber = wf_carried(), .began_ns = wf_carried_since_ns()};
}

/* Under a seed how long things take must not matter. */
static bool may_leave(const struct wf_worker *worker)
{
    return worker->current->no_preempt == 0 && !worker->seed.on;
}

static void __attribute__((noinline)) begin(struct wf_worker *worker, struct site *site)
{
    if (may_leave(worker) && is_worth_it(site) && wf_carry_away(worker))
        note_carried(site);
    else
        note_begin(worker, site);
}

/* The region is over.  How long it lasted; its site, or NULL if that says nothing. */
static int64_t __attribute__((noinline)) end(struct site **site)
{
    struct wf_worker *worker = wf_this_worker;

    *site = here.site;
    here.site = NULL;
    if (*site == NULL)
        return 0;
    if (worker != NULL && (here.fiber != worker->current || here.switches != worker->switches))
        *site = NULL;
    return wf_real_now_ns() - here.began_ns;
}

/* Not at its end: it is not a region that computes. */
static void __attribute__((noinline)) go_home_early(void)
{
    here.site->usual_ns = 1;
    here.site = NULL;
    wf_carry_home();
}

static inline void be_at_home(void)
{
    if (wf_unlikely(wf_carried() != NULL))
        go_home_early();
}

/* {=== The hooks ===} */

static PyThreadState *hook_PyEval_SaveThread(void)
{
    struct wf_worker *worker = wf_hook_worker();
    struct site *site = worker != NULL ? site_at(__builtin_return_address(0)) : NULL;
    PyThreadState *tstate = real_PyEval_SaveThread();

    if (site != NULL)
        begin(worker, site);
    return tstate;
}

static void hook_PyEval_RestoreThread(PyThreadState *tstate)
{
    struct site *site;
    int64_t lasted_ns = end(&site);

    if (wf_unlikely(wf_carried() != NULL))
        wf_carry_home();
    real_PyEval_RestoreThread(tstate);
    if (site != NULL)
        learn(site, lasted_ns);
}

static void hook_PyEval_AcquireThread(PyThreadState *tstate)
{
    be_at_home();
    real_PyEval_AcquireThread(tstate);
}

static PyGILState_STATE hook_PyGILState_Ensure(void)
{
    be_at_home();
    return real_PyGILState_Ensure();
}

static PyThreadState *hook_PyGILState_GetThisThreadState(void)
{
    be_at_home();
    return real_PyGILState_GetThisThreadState();
}

static int hook_PyThread_acquire_lock(PyThread_type_lock lock, int wait)
{
    be_at_home();
    return real_PyThread_acquire_lock(lock, wait);
}

static PyLockStatus hook_PyThread_acquire_lock_timed(PyThread_type_lock lock, PY_TIMEOUT_T microseconds, int interruptible)
{
    be_at_home();
    return real_PyThread_acquire_lock_timed(lock, microseconds, interruptible);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(PyEval_SaveThread, WF_HOOK_OFFLOAD),
    WF_HOOK(PyEval_RestoreThread, WF_HOOK_LIBRARY),
    WF_HOOK(PyEval_AcquireThread, WF_HOOK_LIBRARY),
    WF_HOOK(PyGILState_Ensure, WF_HOOK_LIBRARY),
    WF_HOOK(PyGILState_GetThisThreadState, WF_HOOK_LIBRARY),
    WF_HOOK(PyThread_acquire_lock, WF_HOOK_LIBRARY),
    WF_HOOK(PyThread_acquire_lock_timed, WF_HOOK_LIBRARY),
};

WF_HOOK_FAMILY(carry);
