/* hook_sigwait.c - waiting for a signal.
 *
 * sigwait and its kin wait for signals that are blocked, and there is a descriptor (signalfd) that is readable while
 * one of them is pending: we park on that, then take the signal without waiting.
 *
 * pause and sigsuspend wait until a handler has run.  Those that CPython installs are counted; a handler of C
 * code is noticed by sigsuspend only, when the mask is what lets it in.  We look now and then.
 *
 * The signal mask belongs to the OS thread, and so to all its green threads.
 */
#include "hook.h"
#include "interrupt.h"
#include "backoff.h"
#include "cancel.h"
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int (*real_sigwait)(const sigset_t *, int *);
static int (*real_sigwaitinfo)(const sigset_t *, siginfo_t *);
static int (*real_sigtimedwait)(const sigset_t *, siginfo_t *, const struct timespec *);
static int (*real_pause)(void);
static int (*real_sigsuspend)(const sigset_t *);

/* {=== For blocked signals ===} */

/* Parks until one of the signals may be pending; false with errno. */
static bool await_pending(struct wf_worker *worker, const sigset_t *set, int64_t deadline_ns)
{
    int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    struct wf_io io;
    bool worth_a_look;
    int error;

    if (fd < 0)
        return false;
    io = wf_io_begin(worker, fd, WF_IO_READ);
    io.deadline_ns = deadline_ns;
    worth_a_look = wf_io_wait(&io);
    error = errno;
    wf_io_closing(fd);
    close(fd);
    errno = error;
    return worth_a_look;
}

static int wait_for_signal(struct wf_worker *worker, const sigset_t *set, siginfo_t *info,
                           int64_t deadline_ns)
{
    static const struct timespec at_once;
    struct wf_backoff backoff = wf_backoff_begin(worker, WF_PARK_SIGNAL, deadline_ns);
    int error = errno, signal;

    while ((signal = real_sigtimedwait(set, info, &at_once)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -1;
        if (await_pending(worker, set, deadline_ns))
            continue;
        if (errno == EAGAIN || errno == EINTR || errno == ECANCELED)
            return -1;
        /* No descriptor to be had. */
        switch (wf_backoff_wait(&backoff)) {
        case WF_WOKEN:
            continue;
        case WF_TIMED_OUT:
            errno = EAGAIN;
            return -1;
        case WF_INTERRUPTED:
            errno = wf_interrupt_errno(worker);
            return -1;
        }
    }
    errno = error;
    return signal;
}

static int hook_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL
        || (timeout != NULL && (timeout->tv_nsec < 0 || timeout->tv_nsec >= WF_NS_PER_S)))
        return real_sigtimedwait(set, info, timeout);
    return wait_for_signal(worker, set, info,
                           wf_deadline(timeout != NULL ? wf_timespec_ns(timeout) : -1));
}

static int hook_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_sigwaitinfo(set, info)
                          : wait_for_signal(worker, set, info, WF_NEVER);
}

/* Returns an errno, but never EINTR. */
static int hook_sigwait(const sigset_t *set, int *signal)
{
    struct wf_worker *worker = wf_hook_worker();
    int before = errno, error;

    if (worker == NULL)
        return real_sigwait(set, signal);
    do
        *signal = wait_for_signal(worker, set, NULL, WF_NEVER);
    while (*signal < 0 && errno == EINTR);
    error = *signal < 0 ? errno : 0;
    errno = before;
    return error;
}

/* {=== For a handler ===} */

/* Lets the signals in that `mask` does not block; true if a handler ran. */
static bool let_in(const sigset_t *mask)
{
    static const struct timespec at_once;
    return mask != NULL && ppoll(NULL, 0, &at_once, mask) < 0;
}

/* Both calls end in only one way. */
static int await_handler(struct wf_worker *worker, const sigset_t *mask)
{
    struct wf_backoff backoff = wf_backoff_begin(worker, WF_PARK_SIGNAL, WF_NEVER);
    unsigned before = wf_signal_count();

    while (!let_in(mask) && wf_signal_count() == before)
        if (wf_backoff_wait(&backoff) == WF_INTERRUPTED && wf_cancel_is_due(worker->current)) {
            errno = wf_interrupt_errno(worker);
            return -1;
        }
    errno = EINTR;
    return -1;
}

static int hook_pause(void)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_pause() : await_handler(worker, NULL);
}

static int hook_sigsuspend(const sigset_t *mask)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_sigsuspend(mask) : await_handler(worker, mask);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(sigwait, WF_HOOK_ALL),
    WF_HOOK(sigwaitinfo, WF_HOOK_ALL),
    WF_HOOK(sigtimedwait, WF_HOOK_ALL),
    WF_HOOK(pause, WF_HOOK_ALL),
    WF_HOOK(sigsuspend, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(sigwait);
