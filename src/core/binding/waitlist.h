/* waitlist.h - green threads that wait for something at an address.
 *
 * A lock of libc (a semaphore, a mutex, ...) stays what it was: its own memory is the truth, and OS threads wait for
 * it as ever, in the kernel.  Green threads cannot wait there without stopping their OS thread.  They wait
 * here, in one table keyed by the lock's address, and whoever releases the lock looks:
 *
 *     wait                                release
 *     1 enter the table                   1 the real release
 *     2 try: if it works, leave           2 if anybody is in the table:
 *     3 park, leave, try again              wake the first who waits for this address
 *
 * Either the waiter's try comes after the real release and succeeds, or the releaser finds him in the table.  Whoever
 * leaves the table, for whatever reason, tries once more, so that a wake meant for somebody is
 * never lost with one who had just given up.
 *
 * A signal handler may release (sem_post is async-signal-safe) while its own thread is inside the table; it
 * then only leaves a note, and all who wait in this process are woken to look for themselves.
 *
 * The table touches no lock's memory: who releases a lock may see it freed by the next owner.
 */
#ifndef WF_WAITLIST_H
#define WF_WAITLIST_H

#include "sched.h"

#include <stdatomic.h>

struct wf_waiter {
    struct wf_list link; /* in the table until it is woken */
    const void *address;
    struct wf_fiber *fiber;
    uint64_t park_id;
    bool woken;          /* somebody took it out of the table and unparked the fiber */
    bool in_vain;        /* it was woken before and came too late: it goes first, and wants a turn */
};

/* In the table now: a releaser's first question.  The real release before it is an atomic
 * read-modify-write, and so is the entry, so one of the two sees the other. */
extern atomic_size_t wf_waiting;

/* Begins a park of the running fiber and enters it, unwoken. */
void wf_waiter_enter(struct wf_waiter *waiter, struct wf_worker *worker, const void *address);

/* After a park that nobody's release ended: stays in the table, under a new park.  False if it was woken after all. */
bool wf_waiter_stay(struct wf_waiter *waiter, struct wf_worker *worker);

/* Was it woken? */
bool wf_waiter_leave(struct wf_waiter *waiter);

/* What the functions below do once there is somebody in the table. */
bool wf_waitlist_wake(const void *address, bool all);
void wf_waitlist_go_first(struct wf_worker *worker);
bool wf_waitlist_has(const void *address);

/* Wakes the first who waits for `address`.  True if he had come too late before. */
static inline bool wf_wake_one(const void *address)
{
    return wf_unlikely(atomic_load(&wf_waiting) > 0) && wf_waitlist_wake(address, false);
}

static inline void wf_wake_all(const void *address)
{
    if (wf_unlikely(atomic_load(&wf_waiting) > 0))
        wf_waitlist_wake(address, true);
}

/* For who has released a lock in `worker` (NULL: in no green thread) and goes on: wakes one, and lets him go first if
 * he came too late before.  Who releases and takes a lock in a loop would else never let anybody have it. */
static inline void wf_let_in(struct wf_worker *worker, const void *address)
{
    if (wf_wake_one(address))
        wf_waitlist_go_first(worker);
}

/* Does anybody wait for it?  Only a hint. */
static inline bool wf_is_waited_for(const void *address)
{
    return wf_unlikely(atomic_load(&wf_waiting) > 0) && wf_waitlist_has(address);
}

/* {=== Waiting for a lock ===} */

/* A lock as its waiters see it. */
struct wf_lock {
    void *address;
    int (*try)(struct wf_worker *worker, void *address); /* EBUSY: not now */
    bool shared; /* other processes release it without looking into our table */
    enum wf_reason reason;
};

/* Tries until the answer is another than EBUSY, parked meanwhile.  ETIMEDOUT when the deadline has come.  Like the calls
 * it stands for it is not interrupted by signals. */
int wf_lock_wait(struct wf_worker *worker, const struct wf_lock *lock, int64_t deadline_ns);

/* In the child of a fork nobody waits. */
void wf_waitlist_after_fork(void);

#endif
