/* hook_signal.c - a signal that Python wants to handle must wake the main green thread.
 *
 * CPython's own C handler only sets a flag; the Python handler runs when the main thread next looks.
 * With OS threads the signal also interrupts whatever the main thread was blocked in.
 * Here the main green thread may be parked while another sleeps in the reactor, or
 * the signal may land just before the reactor goes to sleep.  So CPython's handler is wrapped: after it
 * has set its flag, the scheduler is told, which ends the main green thread's park with
 * EINTR, exactly what the system call would have done.
 *
 * Only what CPython installs is wrapped, and only when it is a function of its own (not SIG_DFL, SIG_IGN).
 * Handlers of C libraries stay as they are.  Inside a wrapped handler, hooks pass straight through: a
 * handler must never park.
 */
#include "hook.h"
#include "interrupt.h"
#include "tstate.h"

#include <errno.h>
#include <signal.h>

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

#define MOST_SIGNALS 65 /* one more than the highest signal */

static _Atomic unsigned handled; /* how many of Python's handlers have run */

static void (*wrapped[MOST_SIGNALS])(int); /* CPython's handler, where ours is installed */

static void handler(int signal)
{
    struct wf_worker *worker = wf_this_worker;
    int error = errno;

    if (worker != NULL)
        worker->passing++;
    if (wrapped[signal] != NULL)
        wrapped[signal](signal);
    atomic_fetch_add(&handled, 1);
    if (worker != NULL)
        worker->passing--;
    wf_sched_interrupt();
    errno = error;
}

unsigned wf_signal_count(void)
{
    return atomic_load(&handled);
}

static bool is_pythons(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler != SIG_DFL
           && action->sa_handler != SIG_IGN && wf_hook_in_python((void *)action->sa_handler);
}

/* Crashes are reported on the spot (faulthandler), not by the main thread's Python code. */
static bool is_fault(int signal)
{
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL
           || signal == SIGABRT;
}

static int hook_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction ours;
    void (*before)(int);
    int result;

    if (signal <= 0 || signal >= MOST_SIGNALS || is_fault(signal))
        return real_sigaction(signal, action, old);
    if (wf_interrupt_is_installing() && signal == WF_UNUSABLE_SIGNAL)
        return 0; /* the kernel would refuse, and CPython then not enter the handler in its table */
    before = wrapped[signal];
    if (action != NULL && is_pythons(action)) {
        wrapped[signal] = action->sa_handler;
        ours = *action;
        ours.sa_handler = handler;
        action = &ours;
    }
    result = real_sigaction(signal, action, old);
    if (result < 0)
        wrapped[signal] = before;
    else if (old != NULL && old->sa_handler == handler)
        old->sa_handler = before;
    return result;
}

void wf_signal_wrap_all(void)
{
    struct sigaction action;

    for (int signal = 1; signal < MOST_SIGNALS; signal++)
        if (!is_fault(signal) && real_sigaction(signal, NULL, &action) == 0 && is_pythons(&action))
            hook_sigaction(signal, &action, NULL);
}

void wf_signal_unwrap_all(void)
{
    struct sigaction action;

    for (int signal = 1; signal < MOST_SIGNALS; signal++)
        if (wrapped[signal] != NULL && real_sigaction(signal, NULL, &action) == 0
            && action.sa_handler == handler) {
            action.sa_handler = wrapped[signal];
            real_sigaction(signal, &action, NULL);
        }
}

static const struct wf_hook hooks[] = {
    WF_HOOK(sigaction, WF_HOOK_PYTHON),
};

WF_HOOK_FAMILY(signal);
