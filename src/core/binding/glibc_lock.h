/* glibc_lock.h - what glibc keeps inside its locks, and what we keep beside it.
 *
 * Whose is it?  Recursive and error-checking mutexes, and read-write locks held for writing, know their owner: glibc
 * notes the OS thread.  All green threads of an OS thread are one owner to it, so the lock must also say
 * which of them it is.  It has room for that: a word that glibc initialises to 0 and never looks at
 * again.  We write the owner's serial there (fiber.h: it is never repeated) when one of our
 * hooks has taken the lock.
 *
 *     glibc's owner   our word   the owner is
 *     0               any        nobody
 *     another thread  any        that OS thread, or one of its green threads
 *     this thread     serial     that green thread
 *     this thread     0          the root: it took the lock when there was no green thread
 *
 * glibc's part is always as it would be without us, so code that we have not hooked, and OS threads, use such a lock as
 * ever; and our word counts only together with glibc's, so it does no harm when it is out of date.
 *
 * The layout is part of glibc's ABI, since static initialisers and inlined code have it compiled in.
 * tests/test_hook_mutex.py and its neighbours fail if it changes after all.
 */
#ifndef WF_GLIBC_LOCK_H
#define WF_GLIBC_LOCK_H

#include "sched.h"

#include <pthread.h>

/* Bits of a mutex' kind. */
enum {
    WF_MUTEX_OWNED = 3,        /* 1: recursive; 2: error-checking; 0 and 3: does not know its owner */
    WF_MUTEX_RECURSIVE = 1,
    WF_MUTEX_ROBUST = 16,
    WF_MUTEX_SHARED = 128,
};

/* Does it know its owner, and have a word for us?  (A robust one needs the word itself: to it all green
 * threads of an OS thread are one.) */
static inline bool wf_mutex_is_owned(const pthread_mutex_t *mutex)
{
    int kind = mutex->__data.__kind;
    int type = kind & WF_MUTEX_OWNED;
    return wf_unlikely(type == 1 || type == 2) && !(kind & WF_MUTEX_ROBUST);
}

static inline bool wf_mutex_is_shared(const pthread_mutex_t *mutex)
{
    return mutex->__data.__kind & WF_MUTEX_SHARED;
}

static inline bool wf_rwlock_is_shared(const pthread_rwlock_t *rwlock)
{
    return rwlock->__data.__shared != 0;
}

/* glibc's owner: a thread id. */
static inline pid_t wf_mutex_thread(const pthread_mutex_t *mutex)
{
    return __atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED);
}

static inline pid_t wf_rwlock_thread(const pthread_rwlock_t *rwlock)
{
    return __atomic_load_n(&rwlock->__data.__cur_writer, __ATOMIC_RELAXED);
}

/* Our word. */
static inline uint64_t *wf_mutex_serial(pthread_mutex_t *mutex)
{
    return (uint64_t *)&mutex->__data.__list.__next;
}

static inline uint64_t *wf_rwlock_serial(pthread_rwlock_t *rwlock)
{
    return (uint64_t *)&rwlock->__data.__pad2;
}

/* Is the running fiber the one that `serial` names, in a lock that its own OS thread holds? */
static inline bool wf_is_owner(const struct wf_worker *worker, uint64_t serial)
{
    return serial == worker->current->serial || (serial == 0 && worker->current->kind == WF_ROOT);
}

/* Has the owner taken it only once? */
static inline bool wf_mutex_is_held_once(const pthread_mutex_t *mutex)
{
    return (mutex->__data.__kind & WF_MUTEX_OWNED) != WF_MUTEX_RECURSIVE || mutex->__data.__count == 1;
}

/* The clock of a condition variable's deadlines, and whether other processes signal it. */
static inline clockid_t wf_condition_clock(const pthread_cond_t *condition)
{
    return condition->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

static inline bool wf_condition_is_shared(const pthread_cond_t *condition)
{
    return condition->__data.__wrefs & 1;
}

#endif
