/* locks.c - a C library with locks of every kind, as the tests of weft's hooks drive it through ctypes.
 *
 * Everything returns what pthreads returned: 0 or an error number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static struct timespec after_ms(clockid_t clock, int ms)
{
    struct timespec at;

    clock_gettime(clock, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* How many are inside, and how many there were at most. */
struct census {
    atomic_int inside, most;
};

static void come_in(struct census *census)
{
    int inside = ++census->inside, most = census->most;

    while (inside > most && !atomic_compare_exchange_weak(&census->most, &most, inside))
        ;
}

static void go_out(struct census *census)
{
    census->inside--;
}

/* {=== Mutexes ===} */

struct guard {
    pthread_mutex_t mutex;
    struct census census;
    long count;
};

struct guard *guard_new(int type, int protocol, int robust, int shared)
{
    struct guard *guard = mmap(NULL, sizeof *guard, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type);
    pthread_mutexattr_setprotocol(&attr, protocol);
    pthread_mutexattr_setrobust(&attr, robust);
    pthread_mutexattr_setpshared(&attr, shared);
    if (pthread_mutex_init(&guard->mutex, &attr) != 0)
        return NULL;
    return guard;
}

int guard_lock(struct guard *guard)
{
    return pthread_mutex_lock(&guard->mutex);
}

int guard_trylock(struct guard *guard)
{
    return pthread_mutex_trylock(&guard->mutex);
}

int guard_timedlock(struct guard *guard, int ms)
{
    struct timespec until = after_ms(CLOCK_REALTIME, ms);
    return pthread_mutex_timedlock(&guard->mutex, &until);
}

int guard_clocklock(struct guard *guard, int ms)
{
    struct timespec until = after_ms(CLOCK_MONOTONIC, ms);
    return pthread_mutex_clocklock(&guard->mutex, CLOCK_MONOTONIC, &until);
}

int guard_badlock(struct guard *guard)
{
    struct timespec until = {0, -1};
    return pthread_mutex_timedlock(&guard->mutex, &until);
}

int guard_unlock(struct guard *guard)
{
    return pthread_mutex_unlock(&guard->mutex);
}

/* Holds it `times` times over a call that blocks, taken `deep` times each. */
int guard_hold(struct guard *guard, int us, int times, int deep)
{
    int error = 0;

    for (int i = 0; i < times && error == 0; i++) {
        for (int level = 0; level < deep && error == 0; level++)
            error = pthread_mutex_lock(&guard->mutex);
        if (error != 0)
            return error;
        come_in(&guard->census);
        long count = guard->count;
        usleep(us);
        guard->count = count + 1;
        go_out(&guard->census);
        for (int level = 0; level < deep && error == 0; level++)
            error = pthread_mutex_unlock(&guard->mutex);
    }
    return error;
}

int guard_most(struct guard *guard)
{
    return guard->census.most;
}

long guard_count(struct guard *guard)
{
    return guard->count;
}

static mtx_t c11_mutex;
static struct census c11_census;

int c11_init(int type)
{
    c11_census.most = 0;
    return mtx_init(&c11_mutex, type);
}

int c11_hold(int us, int deep)
{
    int result = thrd_success;
    struct timespec time = {0, us * 1000L};

    for (int level = 0; level < deep && result == thrd_success; level++)
        result = mtx_lock(&c11_mutex);
    come_in(&c11_census);
    thrd_sleep(&time, NULL);
    go_out(&c11_census);
    for (int level = 0; level < deep && result == thrd_success; level++)
        result = mtx_unlock(&c11_mutex);
    return result;
}

int c11_lock(void)
{
    return mtx_lock(&c11_mutex);
}

int c11_trylock(void)
{
    return mtx_trylock(&c11_mutex);
}

int c11_timedlock(int ms)
{
    struct timespec until = after_ms(CLOCK_REALTIME, ms);
    return mtx_timedlock(&c11_mutex, &until);
}

int c11_unlock(void)
{
    return mtx_unlock(&c11_mutex);
}

int c11_most(void)
{
    return c11_census.most;
}

/* {=== Condition variables ===} */

/* A box of numbers that has room for one. */
struct box {
    pthread_mutex_t mutex;
    pthread_cond_t filled, emptied;
    int full, value, waiting, wakes;
};

struct box *box_new(int type, int clock, int shared)
{
    struct box *box = calloc(1, sizeof *box);
    pthread_mutexattr_t mutexattr;
    pthread_condattr_t attr;

    pthread_mutexattr_init(&mutexattr);
    pthread_mutexattr_settype(&mutexattr, type);
    pthread_mutex_init(&box->mutex, &mutexattr);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, clock);
    pthread_condattr_setpshared(&attr, shared);
    pthread_cond_init(&box->filled, &attr);
    pthread_cond_init(&box->emptied, &attr);
    return box;
}

int box_put(struct box *box, int value)
{
    int error = pthread_mutex_lock(&box->mutex);

    while (box->full && error == 0)
        error = pthread_cond_wait(&box->emptied, &box->mutex);
    box->value = value;
    box->full = 1;
    pthread_cond_signal(&box->filled);
    pthread_mutex_unlock(&box->mutex);
    return error;
}

int box_take(struct box *box)
{
    int value;

    pthread_mutex_lock(&box->mutex);
    box->waiting++;
    while (!box->full)
        pthread_cond_wait(&box->filled, &box->mutex);
    box->waiting--;
    value = box->value;
    box->full = 0;
    pthread_cond_signal(&box->emptied);
    pthread_mutex_unlock(&box->mutex);
    return value;
}

int box_waiting(struct box *box)
{
    int waiting;

    pthread_mutex_lock(&box->mutex);
    waiting = box->waiting;
    pthread_mutex_unlock(&box->mutex);
    return waiting;
}

/* Waits once, whatever the box holds. */
int box_wait(struct box *box)
{
    int error;

    pthread_mutex_lock(&box->mutex);
    box->waiting++;
    error = pthread_cond_wait(&box->filled, &box->mutex);
    box->waiting--;
    box->wakes++;
    pthread_mutex_unlock(&box->mutex);
    return error;
}

int box_wakes(struct box *box)
{
    return box->wakes;
}

int box_timedwait(struct box *box, int clock, int ms)
{
    struct timespec until = after_ms(clock, ms);
    int error;

    pthread_mutex_lock(&box->mutex);
    error = pthread_cond_timedwait(&box->filled, &box->mutex, &until);
    pthread_mutex_unlock(&box->mutex);
    return error;
}

int box_clockwait(struct box *box, int clock, int ms)
{
    struct timespec until = after_ms(clock, ms);
    int error;

    pthread_mutex_lock(&box->mutex);
    error = pthread_cond_clockwait(&box->filled, &box->mutex, clock, &until);
    pthread_mutex_unlock(&box->mutex);
    return error;
}

int box_badwait(struct box *box)
{
    struct timespec until = {0, -1};
    int error;

    pthread_mutex_lock(&box->mutex);
    error = pthread_cond_timedwait(&box->filled, &box->mutex, &until);
    pthread_mutex_unlock(&box->mutex);
    return error;
}

int box_wait_without_mutex(struct box *box)
{
    return pthread_cond_wait(&box->filled, &box->mutex);
}

int box_signal(struct box *box)
{
    return pthread_cond_signal(&box->filled);
}

int box_broadcast(struct box *box)
{
    return pthread_cond_broadcast(&box->filled);
}

/* A job lies on the stack of who wants it done; an OS thread of the library does it, and says so. */
struct job {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    int argument, result;
};

static void *job_do(void *arg)
{
    struct job *job = arg;

    usleep(1000);
    pthread_mutex_lock(&job->mutex);
    job->result = job->argument * 2;
    pthread_cond_signal(&job->done);
    pthread_mutex_unlock(&job->mutex);
    return NULL;
}

int job_run(int argument)
{
    struct job job = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, argument, 0};
    pthread_t thread;

    if (pthread_create(&thread, NULL, job_do, &job) != 0)
        return -1;
    pthread_mutex_lock(&job.mutex);
    while (job.result == 0)
        pthread_cond_wait(&job.done, &job.mutex);
    pthread_mutex_unlock(&job.mutex);
    pthread_join(thread, NULL);
    return job.result;
}

static mtx_t c11_box_mutex;
static cnd_t c11_box_filled;
static int c11_box_value;

void c11_box_init(void)
{
    mtx_init(&c11_box_mutex, mtx_plain);
    cnd_init(&c11_box_filled);
    c11_box_value = 0;
}

int c11_box_take(void)
{
    int value;

    mtx_lock(&c11_box_mutex);
    while ((value = c11_box_value) == 0)
        cnd_wait(&c11_box_filled, &c11_box_mutex);
    mtx_unlock(&c11_box_mutex);
    return value;
}

int c11_box_timedtake(int ms)
{
    struct timespec until = after_ms(CLOCK_REALTIME, ms);
    int result = thrd_success;

    mtx_lock(&c11_box_mutex);
    while (c11_box_value == 0 && result == thrd_success)
        result = cnd_timedwait(&c11_box_filled, &c11_box_mutex, &until);
    mtx_unlock(&c11_box_mutex);
    return result;
}

void c11_box_put(int value)
{
    mtx_lock(&c11_box_mutex);
    c11_box_value = value;
    cnd_signal(&c11_box_filled);
    cnd_broadcast(&c11_box_filled);
    mtx_unlock(&c11_box_mutex);
}

/* {=== Read-write locks ===} */

struct book {
    pthread_rwlock_t lock;
    struct census readers, writers;
    int mixed; /* a reader and a writer were seen together */
};

struct book *book_new(int preference, int shared)
{
    struct book *book = calloc(1, sizeof *book);
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, preference);
    pthread_rwlockattr_setpshared(&attr, shared);
    pthread_rwlock_init(&book->lock, &attr);
    return book;
}

int book_read(struct book *book, int us)
{
    int error = pthread_rwlock_rdlock(&book->lock);

    if (error != 0)
        return error;
    come_in(&book->readers);
    usleep(us);
    book->mixed |= book->writers.inside > 0;
    go_out(&book->readers);
    return pthread_rwlock_unlock(&book->lock);
}

int book_write(struct book *book, int us)
{
    int error = pthread_rwlock_wrlock(&book->lock);

    if (error != 0)
        return error;
    come_in(&book->writers);
    usleep(us);
    book->mixed |= book->readers.inside > 0;
    go_out(&book->writers);
    return pthread_rwlock_unlock(&book->lock);
}

int book_most_readers(struct book *book)
{
    return book->readers.most;
}

int book_most_writers(struct book *book)
{
    return book->writers.most;
}

int book_mixed(struct book *book)
{
    return book->mixed;
}

int book_rdlock(struct book *book)
{
    return pthread_rwlock_rdlock(&book->lock);
}

int book_wrlock(struct book *book)
{
    return pthread_rwlock_wrlock(&book->lock);
}

int book_tryrdlock(struct book *book)
{
    return pthread_rwlock_tryrdlock(&book->lock);
}

int book_trywrlock(struct book *book)
{
    return pthread_rwlock_trywrlock(&book->lock);
}

int book_timedrdlock(struct book *book, int ms)
{
    struct timespec until = after_ms(CLOCK_REALTIME, ms);
    return pthread_rwlock_timedrdlock(&book->lock, &until);
}

int book_timedwrlock(struct book *book, int ms)
{
    struct timespec until = after_ms(CLOCK_REALTIME, ms);
    return pthread_rwlock_timedwrlock(&book->lock, &until);
}

int book_clockrdlock(struct book *book, int ms)
{
    struct timespec until = after_ms(CLOCK_MONOTONIC, ms);
    return pthread_rwlock_clockrdlock(&book->lock, CLOCK_MONOTONIC, &until);
}

int book_clockwrlock(struct book *book, int ms)
{
    struct timespec until = after_ms(CLOCK_MONOTONIC, ms);
    return pthread_rwlock_clockwrlock(&book->lock, CLOCK_MONOTONIC, &until);
}

int book_unlock(struct book *book)
{
    return pthread_rwlock_unlock(&book->lock);
}

/* {=== Threads, once, barriers ===} */

static atomic_int may_end;

static void *end_when_told(void *arg)
{
    while (!may_end)
        usleep(200);
    return arg;
}

static int thrd_end_when_told(void *arg)
{
    return (int)(intptr_t)end_when_told(arg);
}

void let_end(int whether)
{
    may_end = whether;
}

long run_and_join(long value)
{
    pthread_t thread;
    void *result = NULL;

    pthread_create(&thread, NULL, end_when_told, (void *)value);
    return pthread_join(thread, &result) == 0 ? (long)result : -1;
}

long thrd_run_and_join(int value)
{
    thrd_t thread;
    int result = 0;

    thrd_create(&thread, thrd_end_when_told, (void *)(intptr_t)value);
    return thrd_join(thread, &result) == thrd_success ? result : -1;
}

/* The error of a join that is given `ms`; the thread is joined for good after that. */
int run_and_timedjoin(int clock, int ms)
{
    struct timespec until = after_ms(clock, ms);
    pthread_t thread;
    int error;

    may_end = 0;
    pthread_create(&thread, NULL, end_when_told, NULL);
    error = clock == CLOCK_REALTIME ? pthread_timedjoin_np(thread, NULL, &until)
                                    : pthread_clockjoin_np(thread, NULL, clock, &until);
    may_end = 1;
    return pthread_join(thread, NULL) == 0 ? error : -1;
}

int join_self(void)
{
    return pthread_join(pthread_self(), NULL);
}

static pthread_once_t once;
static once_flag c11_once;
static atomic_int times_done;

static void do_slowly(void)
{
    usleep(2000);
    times_done++;
}

void once_reset(void)
{
    once = (pthread_once_t)PTHREAD_ONCE_INIT;
    c11_once = (once_flag)ONCE_FLAG_INIT;
    times_done = 0;
}

/* How often it has been done when the caller goes on. */
int do_once(void)
{
    pthread_once(&once, do_slowly);
    return times_done;
}

int c11_do_once(void)
{
    call_once(&c11_once, do_slowly);
    return times_done;
}

static pthread_barrier_t barrier;

int barrier_new(int count)
{
    return pthread_barrier_init(&barrier, NULL, count);
}

int barrier_arrive(void)
{
    return pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
}
