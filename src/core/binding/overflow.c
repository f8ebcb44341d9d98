/* overflow.c - see overflow.h.  Everything in the handler is async-signal-safe. */
#include "overflow.h"

#include "carry.h"
#include "emergency.h"
#include "tstate.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define ALTERNATE_SIZE (64 * 1024)

static struct sigaction before;

static void explain(const struct wf_fiber *fiber, PyThreadState *tstate)
{
    const struct wf_stack *stack = &fiber->vessel->stack;
    struct wf_text text = {.fd = STDERR_FILENO};

    wf_say(&text, "weft: ");
    wf_say_who(&text, fiber);
    wf_say(&text, " overflowed its stack of ");
    wf_say_number(&text, (size_t)(stack->top - stack->lo) / 1024);
    wf_say(&text, " KiB, ");
    wf_say_number(&text, wf_stack_depth(tstate));
    wf_say(&text, " Python calls deep, the innermost first:\n");
    wf_say_stack(&text, tstate);
    wf_say(&text, "weft: raise it with threading.stack_size(bytes) before starting the thread, "
                  "or recurse less deeply through C code.\n");
    wf_text_flush(&text);
}

/* Whose stack the calling OS thread runs on, if it is one of ours. */
static const struct wf_fiber *running(void)
{
    struct wf_worker *worker = wf_this_worker;
    const struct wf_fiber *fiber = worker != NULL ? worker->current : wf_carried();

    return fiber == NULL || fiber->kind == WF_ROOT || fiber->vessel == NULL ? NULL : fiber;
}

static const struct wf_fiber *overflowed(const void *address)
{
    const struct wf_fiber *fiber = running();

    return fiber != NULL && wf_stack_guard_contains(&fiber->vessel->stack, address) ? fiber : NULL;
}

static void handler(int signal, siginfo_t *info, void *context)
{
    const struct wf_fiber *fiber = overflowed(info->si_addr);

    (void)context;
    if (fiber != NULL)
        explain(fiber, wf_carried() != NULL ? fiber->tstate : wf_tstate_bound());
    /* Returning repeats the fault, under the handler that was there before us. */
    sigaction(signal, &before, NULL);
}

static void watch_this_thread(void)
{
    static __thread bool watched;
    stack_t alternate = {.ss_size = ALTERNATE_SIZE}, existing;

    if (watched)
        return;
    watched = true;
    if (sigaltstack(NULL, &existing) == 0 && !(existing.ss_flags & SS_DISABLE))
        return;
    alternate.ss_sp = malloc(ALTERNATE_SIZE); /* for the life of the OS thread */
    if (alternate.ss_sp != NULL)
        sigaltstack(&alternate, NULL);
}

void wf_overflow_watch(void)
{
    static bool installed;
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    watch_this_thread();
    if (installed)
        return;
    installed = true;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before);
}
