/* offload.c - OS threads for calls that can only block; offload.h has the idea.
 *
 * One queue and one condition for all.  A job on the queue has, or is about to have, an idle OS thread of
 * its own: whoever queues it starts one if there are more jobs than idle threads.  Jobs of kind WORK
 * beyond the limit are kept back until one of their kind is over.
 */
#include "offload.h"

#include "interrupt.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>

/* An idle OS thread ends after this long; and more of them than this are not kept. */
#define IDLE_NS (5 * WF_NS_PER_S)
#define IDLE_THREADS WF_OFFLOAD_THREADS

/* No OS thread could be started: try again after this long. */
#define START_AGAIN_NS (10 * WF_NS_PER_MS)

enum progress { KEPT_BACK, QUEUED, RUNNING, OVER };

struct job {
    struct wf_list link; /* on `kept_back` or `queue` */
    enum wf_offload_kind kind;
    void (*function)(void);
    const long *args;
    long result;
    int error;             /* errno, of the caller before and of the call after */
    struct wf_fiber *fiber;
    /* Guarded by the pool's lock: */
    uint64_t park_id;      /* the caller's present park */
    enum progress progress;
    pthread_t thread;      /* while RUNNING */
    bool cancelled;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct wf_list queue, kept_back;
    size_t queued;
    size_t idle;    /* OS threads that will look for a job before they do anything else */
    size_t working; /* jobs of kind WORK that are QUEUED or RUNNING */
    struct wf_thread_counts threads;
    uint64_t count;
} pool;

static void __attribute__((constructor)) pool_init(void)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&pool.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.work, &attr);
    pthread_condattr_destroy(&attr);
    wf_list_init(&pool.queue);
    wf_list_init(&pool.kept_back);
    pool.queued = pool.idle = pool.working = pool.threads.alive = 0;
}

/* {=== A job's way; all with the lock held ===} */

static void job_queue(struct job *job)
{
    job->progress = QUEUED;
    pool.queued++;
    pool.working += job->kind == WF_OFFLOAD_WORK;
    wf_list_push_back(&pool.queue, &job->link);
    pthread_cond_signal(&pool.work);
}

static struct job *first_of(struct wf_list *list)
{
    return wf_list_empty(list) ? NULL : wf_container_of(list->next, struct job, link);
}

static void job_unqueue(struct job *job)
{
    wf_assert(job->progress == QUEUED && pool.queued > 0, "a job that is not on the queue");
    pool.queued--;
    wf_list_remove(&job->link);
}

/* Once the lock is released after this, the job's memory is the caller's. */
static void job_over(struct job *job)
{
    struct job *next = first_of(&pool.kept_back);

    wf_assert(job->progress == QUEUED || job->progress == RUNNING, "a job ends that has not begun, or has ended");
    job->progress = OVER;
    if (job->kind == WF_OFFLOAD_WORK) {
        wf_assert(pool.working > 0, "more jobs have ended than begun");
        pool.working--;
        if (next != NULL) {
            wf_list_remove(&next->link);
            job_queue(next);
        }
    }
}

static void job_submit(struct job *job)
{
    pool.count++;
    if (job->kind != WF_OFFLOAD_WORK || pool.working < WF_OFFLOAD_THREADS) {
        job_queue(job);
    } else {
        job->progress = KEPT_BACK;
        wf_list_push_back(&pool.kept_back, &job->link);
    }
}

/* {=== On the pool's OS threads ===} */

/* The next job, or NULL when none came for a while, or enough others are idle. */
static struct job *next_job(void)
{
    int64_t until_ns = wf_deadline(IDLE_NS);
    struct timespec until = {until_ns / WF_NS_PER_S, until_ns % WF_NS_PER_S};
    struct job *job;
    int error = pool.idle <= IDLE_THREADS ? 0 : ETIMEDOUT;

    while ((job = first_of(&pool.queue)) == NULL && error == 0)
        error = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    wf_assert(pool.idle > 0, "an OS thread looks for a job and is not counted as idle");
    pool.idle--;
    if (job != NULL)
        job_unqueue(job);
    return job;
}

static void job_call(struct job *job)
{
    long (*function)(long, long, long, long, long, long, long, long) = (long (*)(
        long, long, long, long, long, long, long, long))job->function;
    const long *args = job->args;

    errno = job->error;
    job->result = function(args[0], args[1], args[2], args[3], args[4], args[5], args[6], args[7]);
    job->error = errno;
}

/* The OS thread is unwinding, and ends after this. */
static void on_cancel(void *arg)
{
    struct job *job = arg;

    job->result = -1;
    job->error = EINTR;
    pthread_mutex_lock(&pool.lock);
    pool.threads.alive--;
    job_over(job);
    wf_unpark(job->fiber, job->park_id);
    pthread_mutex_unlock(&pool.lock);
}

static void job_call_until_cancelled(struct job *job)
{
    int before;

    pthread_cleanup_push(on_cancel, job);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    job_call(job);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_cleanup_pop(false);
}

/* False: the OS thread was cancelled too late for this job, and must not take another. */
static bool job_run(struct job *job)
{
    bool cancelled;

    job->progress = RUNNING;
    job->thread = pthread_self();
    pthread_mutex_unlock(&pool.lock);
    if (job->kind == WF_OFFLOAD_INTERRUPTIBLE)
        job_call_until_cancelled(job);
    else
        job_call(job);
    pthread_mutex_lock(&pool.lock);
    cancelled = job->cancelled;
    job_over(job);
    wf_unpark(job->fiber, job->park_id);
    return !cancelled;
}

static void *pool_thread(void *ignored)
{
    struct job *job;
    int before;

    (void)ignored;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_mutex_lock(&pool.lock);
    while ((job = next_job()) != NULL && job_run(job))
        pool.idle++;
    pool.threads.alive--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* {=== Starting them ===} */

static bool thread_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, pool_thread, NULL);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

/* An OS thread for each queued job; false if one was lacking and could not be had. */
static bool grow(void)
{
    if (pool.queued <= pool.idle)
        return true;
    if (!thread_start())
        return false;
    pool.idle++;
    pool.threads.started++;
    pool.threads.alive++;
    if (pool.threads.alive > pool.threads.peak_alive)
        pool.threads.peak_alive = pool.threads.alive;
    return true;
}

/* {=== On the caller's side ===} */

/* Cancelling unwinds the OS thread with the help of a library that glibc loads; without it, it aborts. */
static bool can_cancel(void)
{
    return dlopen("libgcc_s.so.1", RTLD_NOW) != NULL;
}

/* A signal has come for the caller. */
static void job_interrupt(struct job *job)
{
    if (job->kind != WF_OFFLOAD_INTERRUPTIBLE || job->cancelled)
        return;
    if (job->progress == QUEUED) {
        job_unqueue(job);
        job->progress = OVER;
        job->result = -1;
        job->error = EINTR;
    } else if (job->progress == RUNNING && can_cancel()) {
        job->cancelled = true;
        pthread_cancel(job->thread);
    }
}

/* The call uses our stack's memory, so an interrupted park goes on until the call is over. */
static void job_await(struct wf_worker *worker, struct job *job)
{
    while (job->progress != OVER) {
        bool lacking = job->progress == QUEUED && !grow();
        /* Otherwise there is no use in a cancellation's ending the park. */
        bool may_end = job->kind == WF_OFFLOAD_INTERRUPTIBLE && !job->cancelled;
        int64_t deadline_ns = lacking ? wf_deadline(START_AGAIN_NS) : WF_NEVER;
        enum wf_wake wake;
        job->park_id = wf_park_begin(worker);
        pthread_mutex_unlock(&pool.lock);
        worker->outside++;
        wake = may_end ? wf_park(worker, WF_PARK_OFFLOAD, deadline_ns)
                       : wf_park_shielded(worker, WF_PARK_OFFLOAD, deadline_ns);
        worker->outside--;
        pthread_mutex_lock(&pool.lock);
        if (wake == WF_INTERRUPTED)
            job_interrupt(job);
    }
}

/* Is there no OS thread for the job, and no hope that one will do?  What ends by itself need not hope. */
static bool hopeless(const struct job *job)
{
    return job->progress == QUEUED && !grow()
           && (job->kind == WF_OFFLOAD_WORK || pool.threads.alive == 0);
}

long wf_offload_call(struct wf_worker *worker, enum wf_offload_kind kind, void (*function)(void),
                     const long args[WF_OFFLOAD_ARGS])
{
    struct job job = {.kind = kind, .function = function, .args = args, .error = errno,
                      .fiber = worker->current};

    pthread_mutex_lock(&pool.lock);
    job_submit(&job);
    if (wf_unlikely(hopeless(&job))) {
        job_unqueue(&job);
        job_over(&job);
        pthread_mutex_unlock(&pool.lock);
        job_call(&job);
    } else {
        job_await(worker, &job);
        pthread_mutex_unlock(&pool.lock);
    }
    errno = job.result == -1 && job.error == EINTR ? wf_interrupt_errno(worker) : job.error;
    return job.result;
}

struct wf_offload_state wf_offload_state(void)
{
    struct wf_offload_state state;

    pthread_mutex_lock(&pool.lock);
    state = (struct wf_offload_state){pool.count, pool.threads, pool.idle, pool.queued};
    pthread_mutex_unlock(&pool.lock);
    return state;
}

void wf_offload_before_fork(void)
{
    pthread_mutex_lock(&pool.lock);
}

void wf_offload_after_fork_parent(void)
{
    pthread_mutex_unlock(&pool.lock);
}

/* The pool's threads are not in the child. */
void wf_offload_after_fork_child(void)
{
    pool_init();
}
