/* offload.c - a small pool of OS threads for calls that can only block; offload.h has the idea. */
#include "offload.h"

#include <errno.h>
#include <signal.h>

/* An idle OS thread ends after this long. */
#define IDLE_NS (5 * WF_NS_PER_S)

struct job {
    struct wf_list link;
    void (*run)(void *arg);
    void *arg;
    struct wf_fiber *fiber;
    uint64_t park_id; /* the caller's present park; like `done` guarded by the pool's lock */
    bool done;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct wf_list queue;
    size_t idle;
    struct wf_offload_threads threads;
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
    pool.idle = pool.threads.alive = 0;
}

/* The next job, or NULL when none came for a while.  Called and left with the lock held. */
static struct job *next_job(void)
{
    int64_t until_ns = wf_deadline(IDLE_NS);
    struct timespec until = {until_ns / WF_NS_PER_S, until_ns % WF_NS_PER_S};
    struct wf_list *node;
    int error = 0;

    pool.idle++;
    while ((node = wf_list_pop_front(&pool.queue)) == NULL && error == 0)
        error = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    pool.idle--;
    return node ? wf_container_of(node, struct job, link) : NULL;
}

/* Called and left with the lock held.  Once it is released after `done`, the job's memory is the caller's. */
static void job_run(struct job *job)
{
    pthread_mutex_unlock(&pool.lock);
    job->run(job->arg);
    pthread_mutex_lock(&pool.lock);
    job->done = true;
    wf_unpark(job->fiber, job->park_id);
}

static void *pool_thread(void *ignored)
{
    struct job *job;

    (void)ignored;
    pthread_mutex_lock(&pool.lock);
    while ((job = next_job()) != NULL)
        job_run(job);
    pool.threads.alive--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static int thread_start(void)
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
    return error;
}

static void count_thread(void)
{
    pool.threads.started++;
    pool.threads.alive++;
    if (pool.threads.alive > pool.threads.peak_alive)
        pool.threads.peak_alive = pool.threads.alive;
}

/* False if there is no thread to do it, now or later.  With the lock held. */
static bool job_submit(struct job *job)
{
    if (pool.idle == 0 && pool.threads.alive < WF_OFFLOAD_THREADS) {
        if (thread_start() == 0)
            count_thread();
        else if (pool.threads.alive == 0)
            return false;
    }
    wf_list_push_back(&pool.queue, &job->link);
    pool.count++;
    pthread_cond_signal(&pool.work);
    return true;
}

bool wf_offload(struct wf_worker *worker, void (*run)(void *arg), void *arg)
{
    struct job job = {.run = run, .arg = arg, .fiber = worker->current};
    bool submitted;

    pthread_mutex_lock(&pool.lock);
    submitted = job_submit(&job);
    /* The call uses our stack's memory, so even an interrupted park goes on until it is over. */
    while (submitted && !job.done) {
        job.park_id = wf_park_begin(worker);
        pthread_mutex_unlock(&pool.lock);
        wf_park(worker, WF_PARK_OFFLOAD, WF_NEVER);
        pthread_mutex_lock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    return submitted;
}

uint64_t wf_offload_count(void)
{
    uint64_t count;

    pthread_mutex_lock(&pool.lock);
    count = pool.count;
    pthread_mutex_unlock(&pool.lock);
    return count;
}

struct wf_offload_threads wf_offload_threads(void)
{
    struct wf_offload_threads threads;

    pthread_mutex_lock(&pool.lock);
    threads = pool.threads;
    threads.idle = pool.idle;
    for (struct wf_list *node = pool.queue.next; node != &pool.queue; node = node->next)
        threads.queued++;
    pthread_mutex_unlock(&pool.lock);
    return threads;
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
