/* offload.h - calls that can only block run on an OS thread while the caller is parked.
 *
 * The call's arguments and results stay where they are, on the parked caller's own stack: unlike
 * a stack that is copied away, it stays at its address.
 *
 * The OS threads are made when needed, wait for work for a while and then end.  They run no
 * Python, never hold the GIL, and block all signals.
 *
 * How many at once?  A call that waits for a disk or a name server ends by itself, so a pool of a fixed
 * size serves any number of them.  A call that waits for *somebody* must never queue: it may be waiting for a
 * call that queues behind it (forty green threads open a FIFO to read, the forty-first to write).  Each of those gets
 * an OS thread at once, as many as the program would have needed without weft.
 *
 * Signals.  A signal for the main green thread must end the call it is parked in, so the OS thread that makes
 * it is cancelled (pthread_cancel: glibc has a signal of its own for that, and none of the user's is
 * touched).  What the call has done by then is lost, and what it holds stays held; so this is for bare system calls
 * that do all or nothing.  The moment between the kernel's "done" and our having noted it cannot be closed: a signal
 * in just that microsecond loses a lock, a descriptor or a connection.
 */
#ifndef WF_OFFLOAD_H
#define WF_OFFLOAD_H

#include "sched.h"
#include "thread_counts.h"

/* As many resolver calls at once as a busy program needs; each costs an OS thread only while it is used. */
#define WF_OFFLOAD_THREADS 32

enum wf_offload_kind {
    WF_OFFLOAD_WORK,          /* ends by itself; at most WF_OFFLOAD_THREADS at once, the rest queue */
    WF_OFFLOAD_WAIT,          /* waits for somebody, who may be another such call: never queues */
    WF_OFFLOAD_INTERRUPTIBLE, /* as WAIT; does all or nothing, so that a signal may end it: -1, EINTR */
};

#define WF_OFFLOAD_ARGS 8

/* Parks the running fiber until `function` has been called on an OS thread, and returns what that returned.
 * The arguments must be integers and pointers: each travels as a word, as the ABI has it.  errno is for the
 * call as if it were made here; and it is made here, if no OS thread is to be had. */
#define wf_offload(worker, kind, function, ...)           \
    wf_offload_call(worker, kind, (void (*)(void))(function), \
                    (const long[WF_OFFLOAD_ARGS]){__VA_ARGS__})

long wf_offload_call(struct wf_worker *worker, enum wf_offload_kind kind, void (*function)(void),
                     const long args[WF_OFFLOAD_ARGS]);

/* How many calls have been offloaded so far; the pool's OS threads, those of them without work, and calls without one. */
struct wf_offload_state {
    uint64_t count;
    struct wf_thread_counts threads;
    size_t idle, queued;
};
struct wf_offload_state wf_offload_state(void);

void wf_offload_before_fork(void);
void wf_offload_after_fork_parent(void);
void wf_offload_after_fork_child(void);

#endif
