/* hook_time.c - sleeping, which for a green thread is parking with a deadline. */
#include "cancel.h"
#include "hook.h"
#include "interrupt.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*real_nanosleep)(const struct timespec *, struct timespec *);
static int (*real_usleep)(useconds_t);
static unsigned (*real_sleep)(unsigned);
static int (*real_thrd_sleep)(const struct timespec *, struct timespec *);

static bool valid(const struct timespec *ts)
{
    return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < WF_NS_PER_S;
}

/* Parks until the deadline; false if interrupted before.  A deadline in the past is a yield. */
static bool sleep_until(struct wf_worker *worker, int64_t deadline_ns)
{
    enum wf_wake wake;

    /* `now_ns` may be a little old; a deadline that has passed since is met by the next look at the timers. */
    if (deadline_ns <= worker->now_ns) {
        wf_yield(worker);
        return !wf_cancel_is_possible(worker->current) || !wf_cancel_is_due(worker->current);
    }
    do {
        wf_park_begin(worker);
        wake = wf_park(worker, WF_PARK_SLEEP, deadline_ns);
    } while (wake == WF_WOKEN);
    return wake == WF_TIMED_OUT;
}

static struct timespec rest_of(int64_t deadline_ns)
{
    int64_t left = deadline_ns - wf_now_ns();

    if (left < 0)
        left = 0;
    return (struct timespec){left / WF_NS_PER_S, left % WF_NS_PER_S};
}

static int hook_clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
                                struct timespec *rest)
{
    struct wf_worker *worker = wf_hook_worker();
    bool absolute = flags & TIMER_ABSTIME;
    int64_t deadline_ns;

    if (worker == NULL || !valid(request)
        || (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME))
        return real_clock_nanosleep(clock, flags, request, rest);
    deadline_ns = absolute ? wf_deadline_at(clock, request) : wf_deadline(wf_timespec_ns(request));
    if (sleep_until(worker, deadline_ns))
        return 0;
    if (!absolute && rest != NULL)
        *rest = rest_of(deadline_ns);
    return wf_interrupt_errno(worker);
}

static int hook_nanosleep(const struct timespec *request, struct timespec *rest)
{
    int error;

    if (wf_hook_worker() == NULL)
        return real_nanosleep(request, rest);
    error = hook_clock_nanosleep(CLOCK_REALTIME, 0, request, rest);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/* C11's has results of its own. */
static int hook_thrd_sleep(const struct timespec *request, struct timespec *rest)
{
    int error;

    if (wf_hook_worker() == NULL)
        return real_thrd_sleep(request, rest);
    error = hook_clock_nanosleep(CLOCK_REALTIME, 0, request, rest);
    return error == 0 ? 0 : error == EINTR ? -1 : -2;
}

static int hook_usleep(useconds_t us)
{
    struct timespec request = {us / 1000000, (long)(us % 1000000) * 1000};

    return wf_hook_worker() == NULL ? real_usleep(us) : hook_nanosleep(&request, NULL);
}

static unsigned hook_sleep(unsigned seconds)
{
    struct timespec request = {(time_t)seconds, 0};

    if (wf_hook_worker() == NULL)
        return real_sleep(seconds);
    if (hook_nanosleep(&request, &request) == 0)
        return 0;
    return (unsigned)request.tv_sec + (request.tv_nsec > 0);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(clock_nanosleep, WF_HOOK_ALL),
    WF_HOOK(nanosleep, WF_HOOK_ALL),
    WF_HOOK(usleep, WF_HOOK_ALL),
    WF_HOOK(sleep, WF_HOOK_ALL),
    WF_HOOK(thrd_sleep, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(time);
