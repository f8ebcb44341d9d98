/* hook_thread_local.c - how code finds its thread-local variables, in objects with the policy OWN_THREAD_LOCALS.
 *
 * A library that is loaded at run time reaches its variables through __tls_get_addr, or through descriptors
 * (tls_descriptor.h).  The answer may be kept for as long as the code runs in one thread; ours holds for the green thread's life.
 *
 * C++ has constructors and destructors called for such variables: the constructor by the code itself when it
 * first meets a zero guard, which lies among the variables; the destructor by whoever __cxa_thread_atexit_impl
 * has told (libstdc++'s __cxa_thread_atexit ends there).
 */
#include "hook.h"

#include "cpu.h"
#include "thread_local.h"
#include "tls_descriptor.h"

/* What the psABI passes to __tls_get_addr; ld.so fills it in when it loads the object. */
struct variable {
    size_t module, offset;
};

static void *(*real___tls_get_addr)(struct variable *);
static int (*real___cxa_thread_atexit_impl)(void (*)(void *), void *, void *);

static inline struct wf_fiber *green_thread(void)
{
    struct wf_worker *worker = wf_this_worker;
    return worker == NULL || worker->current->kind == WF_ROOT ? NULL : worker->current;
}

/* Some compilers call it with the stack aligned to 8 bytes only; glibc copes, and so do we. */
WF_CPU_ALIGNS_STACK static void *hook___tls_get_addr(struct variable *variable)
{
    struct wf_fiber *fiber = green_thread();

    if (fiber == NULL)
        return real___tls_get_addr(variable);
    return wf_thread_local_address(fiber, variable->module, variable->offset);
}

/* Called by wf_tls_resolver. */
ptrdiff_t wf_tls_distance(const uintptr_t *slot, const char *thread_pointer) __attribute__((visibility("hidden")));

ptrdiff_t wf_tls_distance(const uintptr_t *slot, const char *thread_pointer)
{
    const struct wf_tls_descriptor *descriptor = wf_tls_descriptor_find(slot);
    struct wf_fiber *fiber = green_thread();

    if (fiber == NULL)
        return descriptor->real(slot);
    return (char *)wf_thread_local_address(fiber, descriptor->module, descriptor->offset) - thread_pointer;
}

/* Each descriptor has a real function of its own; this one says only whether there is a hook. */
static void *real_descriptor = WF_CPU_TLS_RESOLVER;

static int hook___cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso)
{
    struct wf_fiber *fiber = green_thread();

    if (fiber != NULL && wf_thread_local_at_end(fiber, destructor, object))
        return 0;
    return real___cxa_thread_atexit_impl(destructor, object, dso);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(__tls_get_addr, WF_HOOK_THREAD_LOCAL),
    {WF_ELF_TLS_DESCRIPTOR, WF_CPU_TLS_RESOLVER, &real_descriptor, WF_HOOK_THREAD_LOCAL},
    WF_HOOK(__cxa_thread_atexit_impl, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(thread_local);
