/* overflow.c - see overflow.h.  Everything in the handler is async-signal-safe. */
#include "overflow.h"

#include "sched.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALTERNATE_SIZE (64 * 1024)

static struct sigaction before;

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

static void say_number(size_t number)
{
    char digits[24], *p = digits + sizeof digits - 1;

    *p = '\0';
    do {
        *--p = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(p);
}

static void explain(const struct wf_fiber *fiber)
{
    const struct wf_stack *stack = &fiber->vessel->stack;

    say("weft: the green thread with ident ");
    say_number(wf_fiber_ident(fiber));
    say(" overflowed its stack of ");
    say_number((size_t)(stack->top - stack->lo) / 1024);
    say(" KiB.\nweft: raise it with threading.stack_size(bytes) before starting the thread, "
        "or recurse less deeply through C code.\n");
}

static const struct wf_fiber *overflowed(const void *address)
{
    struct wf_worker *worker = wf_this_worker;

    if (worker == NULL || worker->current->kind == WF_ROOT || worker->current->vessel == NULL)
        return NULL;
    return wf_stack_guard_contains(&worker->current->vessel->stack, address) ? worker->current
                                                                             : NULL;
}

static void handler(int signal, siginfo_t *info, void *context)
{
    const struct wf_fiber *fiber = overflowed(info->si_addr);

    (void)context;
    if (fiber != NULL)
        explain(fiber);
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
