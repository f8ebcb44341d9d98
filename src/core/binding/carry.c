/* carry.c - carriers, and how a fiber gets to one and home; carry.h has the idea.
 *
 * Idle carriers are a stack, so that the warmest works and the others end.  Each has a semaphore of its own:
 * whoever takes one off the stack is the only one to post it.
 *
 * Compilers keep addresses of thread-local variables (errno's, too) in registers, and do not know of functions
 * that return on another OS thread.  So in a function that calls wf_go_away or wf_go_home nothing thread-local is used
 * but by calling a function that is not inlined, and `carrying` is reached through wf_carrier_here alone.
 */
#include "carry.h"

#include <errno.h>
#include <fenv.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

#define IDLE_SECONDS 5
#define SIGNAL_STACK_SIZE (64 * 1024) /* overflow.c's handler wants one */

struct carrier {
    struct carrier *next_idle;
    sem_t begin;
    struct wf_fiber *fiber;
    struct wf_context context; /* where the carrier stands while it carries */
    int64_t since_ns;
    char signal_stack[SIGNAL_STACK_SIZE];
};

/* What travels with the fiber, on its stack. */
struct luggage {
    int error;
    fenv_t environment; /* context.h leaves some of it to the OS thread */
};

static struct {
    pthread_mutex_t lock;
    struct carrier *idle;
    struct wf_carriers now;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread struct carrier *carrying __attribute__((tls_model("initial-exec")));

static struct carrier *__attribute__((noinline)) wf_carrier_here(void)
{
    __asm__ volatile(""); /* no two calls have the same result */
    return carrying;
}

/* {=== What travels ===} */

static void __attribute__((noinline)) pack(struct luggage *luggage)
{
    luggage->error = errno;
    fegetenv(&luggage->environment);
}

static void __attribute__((noinline)) unpack(const struct luggage *luggage)
{
    fesetenv(&luggage->environment);
    errno = luggage->error;
}

/* {=== On a carrier ===} */

/* False: it was idle for so long that it is no longer wanted. */
static bool await(struct carrier *self)
{
    struct timespec until;
    struct carrier **link = &pool.idle;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += IDLE_SECONDS;
    while (sem_timedwait(&self->begin, &until) < 0) {
        if (errno == EINTR)
            continue;
        pthread_mutex_lock(&pool.lock);
        while (*link != NULL && *link != self)
            link = &(*link)->next_idle;
        if (*link == self) {
            *link = self->next_idle;
            pool.now.idle--;
            pool.now.threads.alive--;
            pthread_mutex_unlock(&pool.lock);
            return false;
        }
        pthread_mutex_unlock(&pool.lock);
        sem_wait(&self->begin); /* somebody has just taken it */
        break;
    }
    return true;
}

static void carry(struct carrier *self)
{
    struct wf_fiber *fiber = self->fiber;
    uint64_t park_id = fiber->park_id;

    wf_assert(fiber->state == WF_AWAY, "a fiber is carried that is not away");
    carrying = self;
    self->since_ns = wf_real_now_ns();
    wf_context_switch(&self->context, &fiber->vessel->context);
    carrying = NULL;
    /* Idle first: the fiber may want a carrier again at once. */
    pthread_mutex_lock(&pool.lock);
    self->next_idle = pool.idle;
    pool.idle = self;
    pool.now.idle++;
    pthread_mutex_unlock(&pool.lock);
    wf_sched_is_home(fiber, park_id);
}

static void *carrier_main(void *arg)
{
    struct carrier *self = arg;
    stack_t alternate = {.ss_sp = self->signal_stack, .ss_size = sizeof self->signal_stack};

    sigaltstack(&alternate, NULL);
    while (await(self))
        carry(self);
    alternate.ss_flags = SS_DISABLE;
    sigaltstack(&alternate, NULL);
    sem_destroy(&self->begin);
    free(self);
    return NULL;
}

static bool start_thread(struct carrier *carrier)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t most, before;
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    sigfillset(&most);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigdelset(&most, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &most, &before);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, carrier_main, carrier);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

/* {=== On the worker's OS thread ===} */

static void count_one_more(void)
{
    struct wf_thread_counts *threads = &pool.now.threads;

    pthread_mutex_lock(&pool.lock);
    threads->started++;
    if (++threads->alive > threads->peak_alive)
        threads->peak_alive = threads->alive;
    pthread_mutex_unlock(&pool.lock);
}

static struct carrier *new_carrier(void)
{
    struct carrier *carrier = calloc(1, sizeof *carrier);

    if (carrier == NULL)
        return NULL;
    sem_init(&carrier->begin, 0, 0);
    if (!start_thread(carrier)) {
        sem_destroy(&carrier->begin);
        free(carrier);
        return NULL;
    }
    count_one_more();
    return carrier;
}

static struct carrier *take_carrier(void)
{
    struct carrier *carrier;

    pthread_mutex_lock(&pool.lock);
    carrier = pool.idle;
    if (carrier != NULL) {
        wf_assert(pool.now.idle > 0, "an idle carrier that was not counted");
        pool.idle = carrier->next_idle;
        pool.now.idle--;
    }
    pool.now.count++;
    pthread_mutex_unlock(&pool.lock);
    return carrier != NULL ? carrier : new_carrier();
}

/* In the anteroom: the fiber's stack is free. */
static void hand_over(struct wf_fiber *fiber, void *arg)
{
    struct carrier *carrier = arg;

    carrier->fiber = fiber;
    sem_post(&carrier->begin);
}

bool __attribute__((noinline)) wf_carry_away(struct wf_worker *worker)
{
    struct luggage luggage;
    struct carrier *carrier;

    if (!wf_sched_has_anteroom(worker))
        return false;
    carrier = take_carrier();
    if (carrier == NULL)
        return false;
    pack(&luggage);
    wf_go_away(worker, hand_over, carrier);
    unpack(&luggage);
    return true;
}

/* {=== On the fiber's stack, on a carrier ===} */

struct wf_fiber *wf_carried(void)
{
    struct carrier *carrier = wf_carrier_here();
    return carrier != NULL ? carrier->fiber : NULL;
}

int64_t wf_carried_since_ns(void)
{
    return wf_carrier_here()->since_ns;
}

void __attribute__((noinline)) wf_carry_home(void)
{
    struct carrier *carrier = wf_carrier_here();
    struct luggage luggage;

    wf_assert(carrier != NULL, "only who is carried can go home");
    pack(&luggage);
    wf_go_home(carrier->fiber, &carrier->context);
    unpack(&luggage);
}

/* {=== Counts, and fork ===} */

struct wf_carriers wf_carriers(void)
{
    struct wf_carriers now;

    pthread_mutex_lock(&pool.lock);
    now = pool.now;
    pthread_mutex_unlock(&pool.lock);
    return now;
}

void wf_carry_before_fork(void)
{
    pthread_mutex_lock(&pool.lock);
}

void wf_carry_after_fork_parent(void)
{
    pthread_mutex_unlock(&pool.lock);
}

/* The carriers are not in the child. */
void wf_carry_after_fork_child(void)
{
    pool.idle = NULL;
    pool.now.threads.alive = pool.now.idle = 0;
    pthread_mutex_init(&pool.lock, NULL);
}
