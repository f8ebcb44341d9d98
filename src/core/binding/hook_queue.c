/* hook_queue.c - message queues and semaphores between processes: POSIX queues, and the System V kind.
 *
 * A POSIX queue is, on Linux, a descriptor that can be waited for.  It has no per-call "do not block", but the
 * timed calls with a deadline long past are just that.
 *
 * System V queues and semaphores are no descriptors.  They are tried with IPC_NOWAIT; then an OS thread makes
 * the real call, so that it stands in the kernel's queue as any other, and is counted there.
 */
#include "hook.h"
#include "io.h"
#include "offload.h"

#include <errno.h>
#include <mqueue.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static ssize_t (*real_mq_receive)(mqd_t, char *, size_t, unsigned *);
static ssize_t (*real_mq_timedreceive)(mqd_t, char *, size_t, unsigned *, const struct timespec *);
static int (*real_mq_send)(mqd_t, const char *, size_t, unsigned);
static int (*real_mq_timedsend)(mqd_t, const char *, size_t, unsigned, const struct timespec *);
static ssize_t (*real_msgrcv)(int, void *, size_t, long, int);
static int (*real_msgsnd)(int, const void *, size_t, int);
static int (*real_semop)(int, struct sembuf *, size_t);
static int (*real_semtimedop)(int, struct sembuf *, size_t, const struct timespec *);

/* {=== POSIX message queues ===} */

static const struct timespec long_past = {0, 0};

static bool valid(const struct timespec *until)
{
    return until == NULL || (until->tv_sec >= 0 && until->tv_nsec >= 0 && until->tv_nsec < WF_NS_PER_S);
}

static int64_t deadline_of(const struct timespec *until)
{
    return until == NULL ? WF_NEVER : wf_deadline_at(CLOCK_REALTIME, until);
}

static struct wf_io queue_begin(struct wf_worker *worker, mqd_t queue,
                                enum wf_io_direction direction, const struct timespec *until)
{
    struct wf_io io = wf_io_begin(worker, queue, direction);

    io.deadline_ns = deadline_of(until);
    return io;
}

/* After a try that found the queue empty (or full): worth another? */
static bool queue_wait(struct wf_io *io)
{
    if (errno != ETIMEDOUT)
        return false;
    if (wf_io_wait(io))
        return true;
    if (errno == EAGAIN)
        errno = ETIMEDOUT;
    return false;
}

static ssize_t hook_mq_timedreceive(mqd_t queue, char *buf, size_t len, unsigned *priority,
                                    const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;
    struct wf_io io;
    ssize_t got;

    if (worker == NULL || !valid(until))
        return real_mq_timedreceive(queue, buf, len, priority, until);
    io = queue_begin(worker, queue, WF_IO_READ, until);
    do
        got = real_mq_timedreceive(queue, buf, len, priority, &long_past);
    while (got < 0 && queue_wait(&io));
    if (got >= 0)
        errno = error;
    return got;
}

static ssize_t hook_mq_receive(mqd_t queue, char *buf, size_t len, unsigned *priority)
{
    return wf_hook_worker() == NULL ? real_mq_receive(queue, buf, len, priority)
                                    : hook_mq_timedreceive(queue, buf, len, priority, NULL);
}

static int hook_mq_timedsend(mqd_t queue, const char *buf, size_t len, unsigned priority,
                             const struct timespec *until)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno, result;
    struct wf_io io;

    if (worker == NULL || !valid(until))
        return real_mq_timedsend(queue, buf, len, priority, until);
    io = queue_begin(worker, queue, WF_IO_WRITE, until);
    do
        result = real_mq_timedsend(queue, buf, len, priority, &long_past);
    while (result < 0 && queue_wait(&io));
    if (result == 0)
        errno = error;
    return result;
}

static int hook_mq_send(mqd_t queue, const char *buf, size_t len, unsigned priority)
{
    return wf_hook_worker() == NULL ? real_mq_send(queue, buf, len, priority)
                                    : hook_mq_timedsend(queue, buf, len, priority, NULL);
}

/* {=== System V message queues ===} */

static ssize_t hook_msgrcv(int queue, void *message, size_t len, long type, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;
    ssize_t got;

    if (worker == NULL || (flags & IPC_NOWAIT))
        return real_msgrcv(queue, message, len, type, flags);
    got = real_msgrcv(queue, message, len, type, flags | IPC_NOWAIT);
    if (got >= 0 || errno != ENOMSG)
        return got;
    errno = error;
    return wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, real_msgrcv, queue, (long)message,
                      (long)len, type, flags);
}

static int hook_msgsnd(int queue, const void *message, size_t len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    int error = errno;

    if (worker == NULL || (flags & IPC_NOWAIT))
        return real_msgsnd(queue, message, len, flags);
    if (real_msgsnd(queue, message, len, flags | IPC_NOWAIT) == 0)
        return 0;
    if (errno != EAGAIN)
        return -1;
    errno = error;
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, real_msgsnd, queue, (long)message,
                           (long)len, flags);
}

/* {=== System V semaphores ===} */

#define FEW 8

/* Fills `copy` with the operations, told not to wait; false if one of them has been told so by the caller (then
 * EAGAIN may be his answer, or ours), or if there are too many. */
static bool copy_impatient(struct sembuf copy[FEW], const struct sembuf *operations, size_t count)
{
    if (count > FEW)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (operations[i].sem_flg & IPC_NOWAIT)
            return false;
        copy[i] = operations[i];
        copy[i].sem_flg |= IPC_NOWAIT;
    }
    return true;
}

static int hook_semtimedop(int set, struct sembuf *operations, size_t count,
                           const struct timespec *timeout)
{
    struct wf_worker *worker = wf_hook_worker();
    struct sembuf copy[FEW];
    int error = errno;

    if (worker == NULL)
        return real_semtimedop(set, operations, count, timeout);
    if (copy_impatient(copy, operations, count)) {
        if (real_semop(set, copy, count) == 0)
            return 0;
        if (errno != EAGAIN)
            return -1;
        errno = error;
    }
    return (int)wf_offload(worker, WF_OFFLOAD_INTERRUPTIBLE, real_semtimedop, set, (long)operations,
                           (long)count, (long)timeout);
}

static int hook_semop(int set, struct sembuf *operations, size_t count)
{
    return wf_hook_worker() == NULL ? real_semop(set, operations, count)
                                    : hook_semtimedop(set, operations, count, NULL);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(mq_receive, WF_HOOK_ALL),
    WF_HOOK(mq_timedreceive, WF_HOOK_ALL),
    WF_HOOK(mq_send, WF_HOOK_ALL),
    WF_HOOK(mq_timedsend, WF_HOOK_ALL),
    WF_HOOK(msgrcv, WF_HOOK_ALL),
    WF_HOOK(msgsnd, WF_HOOK_ALL),
    WF_HOOK(semop, WF_HOOK_ALL),
    WF_HOOK(semtimedop, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(queue);
