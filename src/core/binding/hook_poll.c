/* hook_poll.c - waiting for any of several descriptors: poll, select, epoll_wait.
 *
 * Look without waiting; if nothing is ready, wait for an edge on each of them and look again.  The
 * answer is always the kernel's own.  A caller who looks with timeout 0 is probably going
 * round a loop of his own, and lets the others have a turn.
 *
 * A signal mask given along (ppoll and its kin) is in force while we look, so that a signal it lets in
 * is noticed then.  No edge tells of such a signal, so we look now and then.
 */
#include "hook.h"
#include "interrupt.h"
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int (*real_poll)(struct pollfd *, nfds_t, int);
static int (*real___poll_chk)(struct pollfd *, nfds_t, int, size_t);
static int (*real_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*real___ppoll_chk)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *,
                               size_t);
static int (*real_select)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
static int (*real_pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *,
                           const sigset_t *);
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);
static int (*real_epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
static int (*real_epoll_pwait2)(int, struct epoll_event *, int, const struct timespec *,
                                const sigset_t *);

/* If a descriptor cannot be watched (no memory, no watches left), look this often. */
#define LOOK_AGAIN_NS WF_NS_PER_MS

/* If a mask lets in signals that are blocked otherwise, look this often for one of them. */
#define LOOK_FOR_SIGNALS_NS (20 * WF_NS_PER_MS)

#define FEW 8

static const struct timespec at_once;

/* What is waited for, and how the kernel is asked about it. */
struct wait {
    const struct pollfd *fds;
    nfds_t count;
    const sigset_t *mask;     /* or NULL */
    /* Asks without waiting, and returns what the hook shall return; 0: nothing yet. */
    int (*look)(void *arg);
    void *arg;
};

/* {=== One wait for an edge on any of the descriptors ===} */

static uint32_t edges_for(short events)
{
    uint32_t edges = 0;

    if (events & (POLLIN | POLLRDNORM | POLLRDBAND | POLLRDHUP))
        edges |= EPOLLIN;
    if (events & (POLLOUT | POLLWRNORM | POLLWRBAND))
        edges |= EPOLLOUT;
    if (events & POLLPRI)
        edges |= EPOLLPRI;
    return edges;
}

/* How many of the waiters are waiting; *all: none was refused. */
static size_t watch(struct wf_worker *worker, const struct wait *wait, struct wf_io_waiter *waiters,
                    bool *all)
{
    uint64_t park_id = wf_park_begin(worker);
    size_t watched = 0;

    *all = true;
    for (nfds_t i = 0; i < wait->count; i++) {
        const struct pollfd *fd = &wait->fds[i];
        if (fd->fd < 0)
            continue;
        if (wf_reactor_wait(&worker->reactor, &waiters[watched], fd->fd, edges_for(fd->events),
                            worker->current, park_id, worker->now_ns) == 0)
            watched++;
        else
            *all = false;
    }
    return watched;
}

/* When to look even if no edge has come. */
static int64_t look_by(const struct wait *wait, bool all_watched, int64_t deadline_ns)
{
    int64_t by_ns = WF_NEVER;

    if (!all_watched)
        by_ns = wf_deadline(LOOK_AGAIN_NS);
    else if (wait->mask != NULL)
        by_ns = wf_deadline(LOOK_FOR_SIGNALS_NS);
    return by_ns < deadline_ns ? by_ns : deadline_ns;
}

/* Parks until an edge, the deadline or an interrupt. */
static enum wf_wake wait_for_edges(struct wf_worker *worker, const struct wait *wait,
                                   struct wf_io_waiter *waiters, int64_t deadline_ns)
{
    bool all;
    size_t watched = watch(worker, wait, waiters, &all);
    int64_t until_ns = look_by(wait, all, deadline_ns);
    enum wf_wake wake;

    worker->current->awaited = wait->count == 1 ? wait->fds[0].fd : -1 - (intptr_t)wait->count;
    wake = wf_park(worker, WF_PARK_POLL, until_ns);
    for (size_t i = 0; i < watched; i++)
        wf_reactor_unwait(&worker->reactor, &waiters[i]);
    return wake == WF_TIMED_OUT && until_ns != deadline_ns ? WF_WOKEN : wake;
}

static int look_until(struct wf_worker *worker, const struct wait *wait, int64_t deadline_ns)
{
    struct wf_io_waiter few[FEW], *waiters = few;
    enum wf_wake wake;
    int error = errno, result;

    if (wait->count > FEW && (waiters = malloc(wait->count * sizeof *waiters)) == NULL)
        return -1;
    do {
        wake = wait_for_edges(worker, wait, waiters, deadline_ns);
        result = wait->look(wait->arg);
    } while (result == 0 && wake == WF_WOKEN);
    if (waiters != few)
        free(waiters);
    if (result == 0 && wake == WF_INTERRUPTED) {
        errno = wf_interrupt_errno(worker);
        return -1;
    }
    if (result >= 0)
        errno = error;
    return result;
}

/* The whole of it: look, perhaps yield, perhaps wait. */
static int look_and_wait(struct wf_worker *worker, const struct wait *wait, int64_t timeout_ns)
{
    int result = wait->look(wait->arg);

    if (result != 0) {
        wf_ready_call(worker);
        return result;
    }
    if (timeout_ns == 0) {
        wf_yield(worker);
        return 0;
    }
    return look_until(worker, wait, wf_deadline(timeout_ns));
}

static int64_t ms_to_ns(int timeout)
{
    return timeout < 0 ? -1 : (int64_t)timeout * WF_NS_PER_MS;
}

/* {=== poll ===} */

struct poll_call {
    struct pollfd *fds;
    nfds_t count;
    const sigset_t *mask;
};

static int poll_look(void *arg)
{
    struct poll_call *call = arg;

    return real_ppoll(call->fds, call->count, &at_once, call->mask);
}

static int poll_any(struct wf_worker *worker, struct poll_call *call, int64_t timeout_ns)
{
    struct wait wait = {call->fds, call->count, call->mask, poll_look, call};
    return look_and_wait(worker, &wait, timeout_ns);
}

static int hook_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct wf_worker *worker = wf_hook_worker();
    struct poll_call call = {fds, count, NULL};

    return worker == NULL ? real_poll(fds, count, timeout)
                          : poll_any(worker, &call, ms_to_ns(timeout));
}

static int hook_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                      const sigset_t *mask)
{
    struct wf_worker *worker = wf_hook_worker();
    struct poll_call call = {fds, count, mask};

    return worker == NULL ? real_ppoll(fds, count, timeout, mask)
                          : poll_any(worker, &call, timeout ? wf_timespec_ns(timeout) : -1);
}

/* The fortified variants check the size of what `fds` points to and then do the same. */
static int hook___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size)
{
    return size / sizeof *fds < count ? real___poll_chk(fds, count, timeout, size)
                                      : hook_poll(fds, count, timeout);
}

static int hook___ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                            const sigset_t *mask, size_t size)
{
    return size / sizeof *fds < count ? real___ppoll_chk(fds, count, timeout, mask, size)
                                      : hook_ppoll(fds, count, timeout, mask);
}

/* {=== select ===} */

struct select_call {
    int count;
    fd_set *sets[3];       /* the caller's: read, write, exceptional */
    const sigset_t *mask;
};

static int select_look(void *arg)
{
    struct select_call *call = arg;
    fd_set copies[3], *asked[3];
    size_t bytes = (size_t)(call->count + 7) / 8;
    int result;

    for (int i = 0; i < 3; i++) {
        asked[i] = call->sets[i] ? &copies[i] : NULL;
        if (asked[i])
            memcpy(asked[i], call->sets[i], sizeof(fd_set));
    }
    result = real_pselect(call->count, asked[0], asked[1], asked[2], &at_once, call->mask);
    if (result > 0)
        for (int i = 0; i < 3; i++)
            if (asked[i])
                memcpy(call->sets[i], asked[i], bytes);
    return result;
}

static size_t select_list(const struct select_call *call, struct pollfd *fds)
{
    static const short events[] = {POLLIN, POLLOUT, POLLPRI};
    size_t count = 0;

    for (int fd = 0; fd < call->count; fd++) {
        short wanted = 0;
        for (int i = 0; i < 3; i++)
            if (call->sets[i] && FD_ISSET(fd, call->sets[i]))
                wanted |= events[i];
        if (wanted != 0)
            fds[count++] = (struct pollfd){.fd = fd, .events = wanted};
    }
    return count;
}

static void clear_sets(struct select_call *call)
{
    for (int i = 0; i < 3; i++)
        if (call->sets[i])
            memset(call->sets[i], 0, (size_t)(call->count + 7) / 8);
}

static int select_wait(struct wf_worker *worker, struct select_call *call, int64_t timeout_ns)
{
    struct pollfd *fds = malloc((size_t)(call->count + 1) * sizeof *fds);
    struct wait wait;
    int result;

    if (fds == NULL)
        return -1;
    wait = (struct wait){fds, select_list(call, fds), call->mask, select_look, call};
    result = look_and_wait(worker, &wait, timeout_ns);
    free(fds);
    if (result == 0)
        clear_sets(call);
    return result;
}

/* Linux tells in `timeout` how much of it is left. */
static void tell_rest(struct timeval *timeout, int64_t deadline_ns)
{
    int64_t left = deadline_ns - wf_now_ns();

    if (left < 0)
        left = 0;
    timeout->tv_sec = left / WF_NS_PER_S;
    timeout->tv_usec = left % WF_NS_PER_S / 1000;
}

static int hook_select(int count, fd_set *reads, fd_set *writes, fd_set *exceptions,
                       struct timeval *timeout)
{
    struct wf_worker *worker = wf_hook_worker();
    struct select_call call = {count, {reads, writes, exceptions}, NULL};
    int64_t timeout_ns = -1, deadline_ns;
    int result;

    if (worker == NULL || count < 0 || count > FD_SETSIZE
        || (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0)))
        return real_select(count, reads, writes, exceptions, timeout);
    if (timeout) {
        struct timespec ts = {timeout->tv_sec, timeout->tv_usec * 1000};
        timeout_ns = wf_timespec_ns(&ts);
    }
    deadline_ns = wf_deadline(timeout_ns);
    result = select_wait(worker, &call, timeout_ns);
    if (timeout)
        tell_rest(timeout, deadline_ns);
    return result;
}

static int hook_pselect(int count, fd_set *reads, fd_set *writes, fd_set *exceptions,
                        const struct timespec *timeout, const sigset_t *mask)
{
    struct wf_worker *worker = wf_hook_worker();
    struct select_call call = {count, {reads, writes, exceptions}, mask};

    if (worker == NULL || count < 0 || count > FD_SETSIZE)
        return real_pselect(count, reads, writes, exceptions, timeout, mask);
    return select_wait(worker, &call, timeout ? wf_timespec_ns(timeout) : -1);
}

/* {=== epoll: the epoll descriptor is itself one that can be waited for ===} */

struct epoll_call {
    int epoll_fd;
    struct epoll_event *events;
    int most;
    const sigset_t *mask;
};

/* When it shall not wait, epoll_pwait lets no signals in; poll of nothing does. */
static int epoll_look(void *arg)
{
    struct epoll_call *call = arg;
    int result = real_epoll_pwait(call->epoll_fd, call->events, call->most, 0, call->mask);

    return result != 0 || call->mask == NULL ? result : real_ppoll(NULL, 0, &at_once, call->mask);
}

static int epoll_any(struct wf_worker *worker, struct epoll_call *call, int64_t timeout_ns)
{
    struct pollfd fd = {.fd = call->epoll_fd, .events = POLLIN};
    struct wait wait = {&fd, 1, call->mask, epoll_look, call};

    return look_and_wait(worker, &wait, timeout_ns);
}

static int hook_epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout)
{
    struct wf_worker *worker = wf_hook_worker();
    struct epoll_call call = {epoll_fd, events, most, NULL};

    return worker == NULL ? real_epoll_wait(epoll_fd, events, most, timeout)
                          : epoll_any(worker, &call, ms_to_ns(timeout));
}

static int hook_epoll_pwait(int epoll_fd, struct epoll_event *events, int most, int timeout,
                            const sigset_t *mask)
{
    struct wf_worker *worker = wf_hook_worker();
    struct epoll_call call = {epoll_fd, events, most, mask};

    return worker == NULL ? real_epoll_pwait(epoll_fd, events, most, timeout, mask)
                          : epoll_any(worker, &call, ms_to_ns(timeout));
}

static int hook_epoll_pwait2(int epoll_fd, struct epoll_event *events, int most,
                             const struct timespec *timeout, const sigset_t *mask)
{
    struct wf_worker *worker = wf_hook_worker();
    struct epoll_call call = {epoll_fd, events, most, mask};

    return worker == NULL ? real_epoll_pwait2(epoll_fd, events, most, timeout, mask)
                          : epoll_any(worker, &call, timeout ? wf_timespec_ns(timeout) : -1);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(poll, WF_HOOK_ALL),
    WF_HOOK(__poll_chk, WF_HOOK_ALL),
    WF_HOOK(ppoll, WF_HOOK_ALL),
    WF_HOOK(__ppoll_chk, WF_HOOK_ALL),
    WF_HOOK(select, WF_HOOK_ALL),
    WF_HOOK(pselect, WF_HOOK_ALL),
    WF_HOOK(epoll_wait, WF_HOOK_ALL),
    WF_HOOK(epoll_pwait, WF_HOOK_ALL),
    WF_HOOK(epoll_pwait2, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(poll);
