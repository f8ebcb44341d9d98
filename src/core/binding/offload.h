/* offload.h - calls that can only block run on an OS thread while the caller is parked.
 *
 * The call's arguments and results stay where they are, on the parked caller's own stack: unlike
 * a stack that is copied away, it stays at its address.
 *
 * The OS threads are made when needed, up to WF_OFFLOAD_THREADS, wait for work for a while and then
 * end.  They run no Python, never hold the GIL, and block all signals.
 */
#ifndef WF_OFFLOAD_H
#define WF_OFFLOAD_H

#include "sched.h"

/* As many resolver calls at once as a busy program needs; each costs an OS thread only while it is used. */
#define WF_OFFLOAD_THREADS 32

/* Parks the running fiber until run(arg) has been called on an OS thread.  False if it could
 * not be (no thread to be had): then nothing was called. */
bool wf_offload(struct wf_worker *worker, void (*run)(void *arg), void *arg);

/* How many calls have been offloaded so far. */
uint64_t wf_offload_count(void);

struct wf_offload_threads {
    size_t started, alive, peak_alive;
    size_t idle, queued; /* now: OS threads without work, calls without an OS thread */
};
struct wf_offload_threads wf_offload_threads(void);

void wf_offload_before_fork(void);
void wf_offload_after_fork_parent(void);
void wf_offload_after_fork_child(void);

#endif
