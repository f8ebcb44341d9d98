/* lock.h - weft.Lock and weft.RLock: threading's, for green threads and OS threads alike, without a system call.
 *
 * Both are one permit and the identity of who has it, as threading.get_ident() tells it.  A Lock does not care who releases
 * it and keeps the identity for dumps; an RLock does, and counts how often its owner acquired it.
 */
#ifndef WF_LOCK_H
#define WF_LOCK_H

#include "permits.h"

struct wf_mutex {
    PyObject_HEAD
    struct wf_permits permits;
    unsigned long holder; /* 0: nobody */
    Py_ssize_t again;     /* an RLock: how often its owner acquired it besides the first time */
    PyObject *weakrefs;
};

extern PyTypeObject *wf_lock_type, *wf_rlock_type;

/* 1; 0: the deadline came first; -1 with an exception. */
int wf_lock_acquire(struct wf_mutex *lock, int64_t deadline_ns);
int wf_rlock_acquire(struct wf_mutex *lock, int64_t deadline_ns);

/* 0, or -1 with RuntimeError. */
int wf_lock_release(struct wf_mutex *lock);
int wf_rlock_release(struct wf_mutex *lock);

/* Gives an RLock away though its owner acquired it several times, and takes it back.  wf_rlock_restore: as acquire. */
Py_ssize_t wf_rlock_save(struct wf_mutex *lock);
int wf_rlock_restore(struct wf_mutex *lock, Py_ssize_t again);

static inline bool wf_rlock_is_owned(const struct wf_mutex *lock)
{
    return lock->holder == wf_own_ident();
}

/* The ident of who holds the lock for which a fiber is parked with WF_PARK_LOCK; 0: not known. */
static inline unsigned long wf_lock_holder(intptr_t awaited)
{
    return awaited == 0 ? 0 : ((const struct wf_mutex *)awaited)->holder;
}

/* Adds the types to the module.  0, or -1 with an exception. */
int wf_lock_init(PyObject *module);

#endif
