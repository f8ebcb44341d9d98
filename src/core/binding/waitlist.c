/* waitlist.c - the table of who waits for what; waitlist.h has the idea. */
#include "waitlist.h"

#include "tstate.h"

#include <errno.h>

#define BUCKETS 1024

/* How often the waiter for a lock tries without having been woken: soon at first, then less often.  Other processes
 * never wake us.  In our own, code that we have not hooked may release a lock; it must not hang for that. */
static const struct pauses {
    int64_t first_ns, last_ns;
} pauses[] = {
    [false] = {WF_NS_PER_MS, 256 * WF_NS_PER_MS},
    [true] = {WF_NS_PER_MS / 2, 16 * WF_NS_PER_MS},
};

static struct bucket {
    pthread_mutex_t lock;
    atomic_uint count; /* so that who looks for nobody takes no lock */
    struct wf_list waiters;
} buckets[BUCKETS];

atomic_size_t wf_waiting;
static __thread unsigned inside_table; /* this thread holds, or is about to hold, a bucket's lock */
static atomic_bool note;               /* a signal handler released something meanwhile */

static void __attribute__((constructor)) table_init(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        pthread_mutex_init(&buckets[i].lock, NULL);
        atomic_store(&buckets[i].count, 0);
        wf_list_init(&buckets[i].waiters);
    }
}

static struct bucket *bucket_of(const void *address)
{
    /* Locks are at least 8 bytes apart; Fibonacci hashing spreads what is left. */
    uint64_t hash = ((uintptr_t)address >> 3) * UINT64_C(0x9E3779B97F4A7C15);
    return &buckets[hash >> 54];
}

static void bucket_lock(struct bucket *bucket)
{
    inside_table++;
    pthread_mutex_lock(&bucket->lock);
}

static void take_out(struct bucket *bucket, struct wf_waiter *waiter)
{
    wf_list_remove(&waiter->link);
    atomic_fetch_sub(&bucket->count, 1);
    atomic_fetch_sub(&wf_waiting, 1);
}

static void wake(struct bucket *bucket, struct wf_waiter *waiter)
{
    take_out(bucket, waiter);
    waiter->woken = true;
    wf_unpark(waiter->fiber, waiter->park_id);
}

static void wake_everybody(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct bucket *bucket = &buckets[i];
        bucket_lock(bucket);
        while (!wf_list_empty(&bucket->waiters))
            wake(bucket, wf_container_of(bucket->waiters.next, struct wf_waiter, link));
        pthread_mutex_unlock(&bucket->lock);
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

/* {=== The waiter's side ===} */

void wf_waiter_enter(struct wf_waiter *waiter, struct wf_worker *worker, const void *address)
{
    struct bucket *bucket = bucket_of(address);
    struct wf_list *place = &bucket->waiters;

    waiter->address = address;
    waiter->fiber = worker->current;
    waiter->park_id = wf_park_begin(worker);
    waiter->woken = false;
    worker->current->awaited = (intptr_t)address; /* for dumps */
    bucket_lock(bucket);
    wf_list_push_back(waiter->in_vain ? place->next : place, &waiter->link);
    atomic_fetch_add(&bucket->count, 1); /* sequentially consistent: before our try */
    atomic_fetch_add(&wf_waiting, 1);
    bucket_unlock(bucket);
}

bool wf_waiter_stay(struct wf_waiter *waiter, struct wf_worker *worker)
{
    struct bucket *bucket = bucket_of(waiter->address);
    bool stays;

    bucket_lock(bucket);
    stays = !waiter->woken;
    if (stays)
        waiter->park_id = wf_park_begin(worker);
    bucket_unlock(bucket);
    return stays;
}

bool wf_waiter_leave(struct wf_waiter *waiter)
{
    struct bucket *bucket = bucket_of(waiter->address);

    bucket_lock(bucket);
    if (!waiter->woken)
        take_out(bucket, waiter);
    bucket_unlock(bucket);
    return waiter->woken;
}

/* {=== The releaser's side ===} */

static struct wf_waiter *first_for(const struct bucket *bucket, const void *address)
{
    struct wf_list *node;

    for (node = bucket->waiters.next; node != &bucket->waiters; node = node->next) {
        struct wf_waiter *waiter = wf_container_of(node, struct wf_waiter, link);
        if (waiter->address == address)
            return waiter;
    }
    return NULL;
}

bool wf_waitlist_wake(const void *address, bool all)
{
    struct bucket *bucket = bucket_of(address);
    struct wf_waiter *waiter;
    bool in_vain = false;

    if (wf_likely(atomic_load(&bucket->count) == 0))
        return false;
    if (wf_unlikely(inside_table > 0)) {
        atomic_store(&note, true);
        return false;
    }
    bucket_lock(bucket);
    while ((waiter = first_for(bucket, address)) != NULL) {
        in_vain = waiter->in_vain; /* before it is woken: then its memory is its own again */
        wake(bucket, waiter);
        if (!all)
            break;
    }
    bucket_unlock(bucket);
    return in_vain;
}

void wf_waitlist_go_first(struct wf_worker *worker)
{
    /* Nobody expects to lose the GIL by unlocking a mutex. */
    if (worker != NULL && !wf_tstate_attached(wf_tstate_bound()))
        wf_yield(worker);
}

bool wf_waitlist_has(const void *address)
{
    struct bucket *bucket = bucket_of(address);
    bool has;

    bucket_lock(bucket);
    has = first_for(bucket, address) != NULL;
    bucket_unlock(bucket);
    return has;
}

/* {=== Waiting for a lock ===} */

static int64_t sooner(int64_t a_ns, int64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

int wf_lock_wait(struct wf_worker *worker, const struct wf_lock *lock, int64_t deadline_ns)
{
    int64_t pause_ns = pauses[lock->shared].first_ns;
    struct wf_waiter waiter = {.in_vain = false};
    enum wf_wake woke;
    int error;

    for (;;) {
        wf_waiter_enter(&waiter, worker, lock->address);
        error = lock->try(worker, lock->address);
        woke = error != EBUSY ? WF_WOKEN
                              : wf_park_shielded(worker, lock->reason,
                                                 sooner(wf_deadline(pause_ns), deadline_ns));
        waiter.in_vain |= wf_waiter_leave(&waiter);
        if (error == EBUSY)
            error = lock->try(worker, lock->address);
        if (error != EBUSY)
            return error;
        if (woke == WF_TIMED_OUT && deadline_ns != WF_NEVER && wf_now_ns() >= deadline_ns)
            return ETIMEDOUT;
        if (woke == WF_TIMED_OUT)
            pause_ns = sooner(2 * pause_ns, pauses[lock->shared].last_ns);
    }
}

void wf_waitlist_after_fork(void)
{
    table_init();
    atomic_store(&wf_waiting, 0);
    atomic_store(&note, false);
    inside_table = 0;
}
