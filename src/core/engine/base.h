/* base.h - the handful of words every other file of the core uses.
 *
 * Job: assertions, branch hints, time.  Nothing here keeps state but the virtual clock.
 *
 * Assertions.  wf_assert stays on in release builds: it guards facts whose
 * breach would corrupt somebody's stack, and costs a predicted branch.
 * wf_check is for debug builds (-DWF_DEBUG), where a whole structure is walked.
 * Both print "function: broken fact", because that is what a bug report needs.
 *
 * Time is CLOCK_MONOTONIC in nanoseconds everywhere in the core.  Deadlines are
 * absolute; a timeout (relative) exists only at the edge of the API.
 *
 * The virtual clock.  An OS thread may have a clock of its own (wf_clock), which stands still until
 * somebody moves it.  wf_now_ns and all that is built on it tell its time; wf_real_now_ns is for those who
 * must know the real one: who waits inside the kernel, and OS threads that watch others.  Since
 * CLOCK_MONOTONIC never goes back, a virtual clock that is stopped goes on, at the real speed, from where it was.
 */
#ifndef WF_BASE_H
#define WF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define wf_likely(x) __builtin_expect(!!(x), 1)
#define wf_unlikely(x) __builtin_expect(!!(x), 0)

#define wf_container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))

/* Prints "weft: where: fact" to standard error and aborts.  Async-signal-safe. */
__attribute__((noreturn, cold)) void wf_panic(const char *where, const char *fact);

#define wf_assert(cond, fact) \
    (wf_likely(cond) ? (void)0 : wf_panic(__func__, fact))

#ifdef WF_DEBUG
#define wf_check(cond, fact) wf_assert(cond, fact)
#else
#define wf_check(cond, fact) ((void)0)
#endif

/* The least page a kernel may have here, and the largest. */
#define WF_PAGE_SIZE 4096
#ifndef WF_MOST_PAGE_SIZE
#ifdef __aarch64__
#define WF_MOST_PAGE_SIZE 65536
#else
#define WF_MOST_PAGE_SIZE 4096
#endif
#endif

/* A deadline that never comes. */
#define WF_NEVER INT64_MAX

#define WF_NS_PER_S INT64_C(1000000000)
#define WF_NS_PER_MS INT64_C(1000000)

static inline int64_t wf_timespec_ns(const struct timespec *ts)
{
    /* Saturates: a caller may ask for more seconds than nanoseconds can count. */
    if (ts->tv_sec >= INT64_MAX / WF_NS_PER_S)
        return WF_NEVER;
    return (int64_t)ts->tv_sec * WF_NS_PER_S + ts->tv_nsec;
}

static inline int64_t wf_real_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * WF_NS_PER_S + ts.tv_nsec;
}

static inline int64_t wf_real_now_ns(void)
{
    return wf_real_ns(CLOCK_MONOTONIC);
}

/* A virtual clock. */
struct wf_clock {
    bool stands;
    int64_t now_ns;  /* while it stands: CLOCK_MONOTONIC; otherwise what that is ahead of the real one */
    int64_t wall_ns; /* while it stands: what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC */
    unsigned asked;  /* how often it was asked since it last moved */
};

/* The calling OS thread's; NULL: the real one. */
extern __thread struct wf_clock *wf_clock __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Starts or sets it, and stops it. */
void wf_clock_start(struct wf_clock *clock, int64_t now_ns, int64_t wall_ns);
void wf_clock_stop(struct wf_clock *clock);

/* Moves it on to `now_ns`. */
void wf_clock_jump(struct wf_clock *clock, int64_t now_ns);

/* Somebody has asked, or done what counts as so many times.  Who asks very often waits for time to pass without
 * letting it: it does then. */
void wf_clock_asked(struct wf_clock *clock, unsigned times);

static inline int64_t wf_clock_now_ns(const struct wf_clock *clock)
{
    return clock->stands ? clock->now_ns : wf_real_now_ns() + clock->now_ns;
}

static inline bool wf_clock_stands(void)
{
    return wf_unlikely(wf_clock != NULL) && wf_clock->stands;
}

static inline int64_t wf_now_ns(void)
{
    return wf_likely(wf_clock == NULL) ? wf_real_now_ns() : wf_clock_now_ns(wf_clock);
}

/* The time of day, CLOCK_REALTIME. */
static inline int64_t wf_wall_ns(void)
{
    return wf_clock_stands() ? wf_clock->now_ns + wf_clock->wall_ns : wf_real_ns(CLOCK_REALTIME);
}

/* The deadline `timeout_ns` from now; a negative timeout means never. */
static inline int64_t wf_deadline(int64_t timeout_ns)
{
    int64_t deadline;
    if (timeout_ns < 0 || __builtin_add_overflow(wf_now_ns(), timeout_ns, &deadline))
        return WF_NEVER;
    return deadline;
}

/* What pthreads asks of the moments and the clocks it is given. */
static inline bool wf_timespec_is_valid(const struct timespec *ts)
{
    return ts->tv_nsec >= 0 && ts->tv_nsec < WF_NS_PER_S;
}

static inline bool wf_clock_is_known(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME;
}

/* The moment `until` of another clock as a deadline; never, if it is too far away to count. */
static inline int64_t wf_deadline_at(clockid_t clock, const struct timespec *until)
{
    int64_t left;
    if (clock == CLOCK_MONOTONIC)
        return wf_timespec_ns(until);
    left = wf_timespec_ns(until) - wf_wall_ns();
    return wf_deadline(left > 0 ? left : 0);
}

#endif
