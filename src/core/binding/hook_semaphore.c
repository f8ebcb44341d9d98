/* hook_semaphore.c - POSIX semaphores, which is where all of CPython's locks wait.
 *
 * threading.Lock, RLock, Condition, Event, the queues, the locks of buffered files and of imports, and (3.13+)
 * PyMutex all end in sem_wait, sem_clockwait and sem_post.  The GIL does not (it waits for a
 * condition variable), so catching these three separates the two exactly.
 *
 * The semaphore itself stays the kernel's and glibc's: its value is the truth, OS threads wait
 * for it as ever.  Beside it stands a table of the green threads that wait, keyed by address.
 *
 *     wait                                post
 *     1 enter the table                   1 the real sem_post
 *     2 try: if it works, leave           2 if anybody is in the table:
 *     3 park, then try again                wake the first who waits for this address
 *
 * Either the waiter's try comes after the real post and succeeds, or the poster finds him in the table.  Whoever
 * leaves the table, for whatever reason, tries once more, so that a wake meant for somebody is
 * never lost with one who had just given up.
 *
 * A signal handler may post (sem_post is async-signal-safe) while its own thread is inside the table; it
 * then only leaves a note, and the waiters of this process are all woken to look for themselves.
 *
 * Process-shared semaphores (multiprocessing) are posted by processes that know nothing of our
 * table: their waiters try again now and then.
 */
#include "hook.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

static int (*real_sem_wait)(sem_t *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*real_sem_post)(sem_t *);

#define BUCKETS 1024

/* How often the waiter for a process-shared semaphore tries: soon at first, then less often. */
#define SHARED_FIRST_NS (WF_NS_PER_MS / 2)
#define SHARED_LAST_NS (20 * WF_NS_PER_MS)

struct sem_waiter {
    struct wf_list link; /* on its bucket while it waits to be woken */
    sem_t *sem;
    struct wf_fiber *fiber;
    uint64_t park_id;
};

static struct bucket {
    pthread_mutex_t lock;
    struct wf_list waiters;
} buckets[BUCKETS];

static atomic_size_t waiting;            /* in the table; a poster's first question */
static __thread unsigned inside_table;   /* this thread holds, or is about to hold, a bucket's lock */
static atomic_bool note;                 /* a signal handler posted meanwhile */

static void __attribute__((constructor)) table_init(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        pthread_mutex_init(&buckets[i].lock, NULL);
        wf_list_init(&buckets[i].waiters);
    }
}

static struct bucket *bucket_of(const sem_t *sem)
{
    /* Semaphores are at least 16 bytes apart; Fibonacci hashing spreads what is left. */
    uint64_t hash = ((uintptr_t)sem >> 4) * UINT64_C(0x9E3779B97F4A7C15);
    return &buckets[hash >> 54];
}

static void bucket_lock(struct bucket *bucket)
{
    inside_table++;
    pthread_mutex_lock(&bucket->lock);
}

static void wake_everybody(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct wf_list *node;
        bucket_lock(&buckets[i]);
        for (node = buckets[i].waiters.next; node != &buckets[i].waiters; node = node->next) {
            struct sem_waiter *waiter = wf_container_of(node, struct sem_waiter, link);
            wf_unpark(waiter->fiber, waiter->park_id);
        }
        pthread_mutex_unlock(&buckets[i].lock);
        inside_table--;
    }
}

static void bucket_unlock(struct bucket *bucket)
{
    pthread_mutex_unlock(&bucket->lock);
    inside_table--;
    if (wf_unlikely(atomic_load(&note)) && inside_table == 0 && atomic_exchange(&note, false))
        wake_everybody();
}

/* {=== Waiting ===} */

/* 0, EAGAIN (not to be had now) or another errno. */
static int try(sem_t *sem)
{
    return sem_trywait(sem) == 0 ? 0 : errno;
}

static bool is_shared(const sem_t *sem)
{
    /* glibc keeps what sem_init was told about sharing in the third word (FUTEX_SHARED is 128). */
    return ((const int *)sem)[2] != 0;
}

static void enter(struct sem_waiter *waiter, struct wf_worker *worker)
{
    struct bucket *bucket = bucket_of(waiter->sem);

    waiter->fiber = worker->current;
    waiter->park_id = wf_park_begin(worker);
    bucket_lock(bucket);
    wf_list_push_back(&bucket->waiters, &waiter->link);
    atomic_fetch_add(&waiting, 1); /* sequentially consistent: before our try */
    bucket_unlock(bucket);
}

static void withdraw(struct sem_waiter *waiter)
{
    struct bucket *bucket = bucket_of(waiter->sem);

    bucket_lock(bucket);
    wf_list_remove(&waiter->link);
    atomic_fetch_sub(&waiting, 1);
    bucket_unlock(bucket);
}

/* 0 or an errno. */
static int wait_private(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    struct sem_waiter waiter = {.sem = sem};
    enum wf_wake wake = WF_WOKEN;
    int error;

    do {
        enter(&waiter, worker);
        error = try(sem);
        worker->current->awaited = (intptr_t)sem;
        if (error == EAGAIN)
            wake = wf_park(worker, WF_PARK_SEMAPHORE, deadline_ns);
        withdraw(&waiter);
        if (error == EAGAIN)
            error = try(sem);
    } while (error == EAGAIN && wake == WF_WOKEN);
    if (error == EAGAIN)
        error = wake == WF_TIMED_OUT ? ETIMEDOUT : EINTR;
    return error;
}

static int wait_shared(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    int64_t pause_ns = SHARED_FIRST_NS;
    int error;

    while ((error = try(sem)) == EAGAIN) {
        int64_t until_ns = wf_deadline(pause_ns);
        if (wf_now_ns() >= deadline_ns)
            return ETIMEDOUT;
        wf_park_begin(worker);
        worker->current->awaited = (intptr_t)sem;
        if (wf_park(worker, WF_PARK_SEMAPHORE, until_ns < deadline_ns ? until_ns : deadline_ns)
            == WF_INTERRUPTED)
            return EINTR;
        if (pause_ns < SHARED_LAST_NS)
            pause_ns *= 2;
    }
    return error;
}

static int wait_until(struct wf_worker *worker, sem_t *sem, int64_t deadline_ns)
{
    int before = errno;
    int error = try(sem);

    if (error == EAGAIN)
        error = is_shared(sem) ? wait_shared(worker, sem, deadline_ns)
                               : wait_private(worker, sem, deadline_ns);
    errno = error == 0 ? before : error;
    return error == 0 ? 0 : -1;
}

static int hook_sem_wait(sem_t *sem)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_sem_wait(sem);
    return wait_until(worker, sem, WF_NEVER);
}

static int hook_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();
    struct timespec now;
    int64_t left_ns;

    if (worker == NULL || until->tv_nsec < 0 || until->tv_nsec >= WF_NS_PER_S
        || (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME))
        return real_sem_clockwait(sem, clock, until);
    if (clock == CLOCK_MONOTONIC)
        return wait_until(worker, sem, wf_timespec_ns(until));
    clock_gettime(clock, &now);
    left_ns = wf_timespec_ns(until) - wf_timespec_ns(&now);
    return wait_until(worker, sem, wf_deadline(left_ns > 0 ? left_ns : 0));
}

static int hook_sem_timedwait(sem_t *sem, const struct timespec *until)
{
    if (wf_hook_worker() == NULL)
        return real_sem_timedwait(sem, until);
    return hook_sem_clockwait(sem, CLOCK_REALTIME, until);
}

/* {=== Posting ===} */

static void wake_one(sem_t *sem)
{
    struct bucket *bucket = bucket_of(sem);
    struct wf_list *node;

    bucket_lock(bucket);
    for (node = bucket->waiters.next; node != &bucket->waiters; node = node->next) {
        struct sem_waiter *waiter = wf_container_of(node, struct sem_waiter, link);
        if (waiter->sem == sem) {
            wf_list_remove(node); /* the next post is for the next waiter */
            wf_unpark(waiter->fiber, waiter->park_id);
            break;
        }
    }
    bucket_unlock(bucket);
}

static int hook_sem_post(sem_t *sem)
{
    int result = real_sem_post(sem);

    if (wf_likely(atomic_load(&waiting) == 0) || result < 0)
        return result;
    if (wf_unlikely(inside_table > 0))
        atomic_store(&note, true);
    else
        wake_one(sem);
    return result;
}

void wf_semaphore_after_fork(void)
{
    table_init();
    atomic_store(&waiting, 0);
    atomic_store(&note, false);
    inside_table = 0;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(sem_wait, WF_HOOK_ALL),
    WF_HOOK(sem_timedwait, WF_HOOK_ALL),
    WF_HOOK(sem_clockwait, WF_HOOK_ALL),
    WF_HOOK(sem_post, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(semaphore);
