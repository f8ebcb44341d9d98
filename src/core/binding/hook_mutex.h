/* hook_mutex.h - taking and releasing a C library's mutex, for the other locks that need one. */
#ifndef WF_HOOK_MUTEX_H
#define WF_HOOK_MUTEX_H

#include "sched.h"

/* The running fiber takes it, parked while somebody else has it; as pthread_mutex_lock, or
 * pthread_mutex_clocklock when there is a deadline. */
int wf_mutex_lock(struct wf_worker *worker, pthread_mutex_t *mutex, int64_t deadline_ns);

/* The running fiber releases it, never parks, and wakes who waits for it.  As pthread_mutex_unlock. */
int wf_mutex_unlock(struct wf_worker *worker, pthread_mutex_t *mutex);

#endif
