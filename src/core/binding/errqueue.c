/* errqueue.c - an OpenSSL error queue for each green thread.
 *
 * OpenSSL's functions say that they have failed by their result, and why by a queue of errors that belongs to the OS
 * thread.  Callers look at it a little later: SSL_get_error even takes an error that it finds there for one of the
 * connection it is asked about.  If the green threads of an OS thread shared the queue, each
 * would fail with the errors of those who ran in between.
 *
 * libcrypto finds the queue through pthread_getspecific, under a key of its own.  So the hooks of pthread_getspecific
 * and pthread_setspecific answer, for that key, with the running green thread's value, and libcrypto makes it a queue
 * as it would for a new thread.  Nothing is copied when green threads switch, wherever they do.
 *
 * Which key that is, we learn by asking each copy of libcrypto (wheels bring their own) for the last error, and looking
 * which keys it asks for.  Its other keys, under which it has random generators, stay the OS thread's: these
 * hold nothing from one call to the next.
 *
 * OpenSSL has no function that frees a queue, but for a whole OS thread's at its end.  So a green thread that ends
 * leaves its queues, emptied, to one that needs some.
 *
 * Out of reach: an OpenSSL that is linked statically into an object and shows none of its functions.
 *
 * Rejected: draining the queue at each park and filling it again at the return.  Asking whether there is an error costs
 * 50 ns in OpenSSL 3.0, more than a switch, and the marks that callers set in the queue would be lost.
 */
#include "errqueue.h"

#include "carry.h"
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

static void *(*real_pthread_getspecific)(pthread_key_t);
static int (*real_pthread_setspecific)(pthread_key_t, const void *);

#define MOST_COPIES 8

static struct copy {
    unsigned long (*peek_error)(void);
    void (*clear_error)(void);
} copies[MOST_COPIES];
static size_t copy_count;

/* The keys under which they have their queues, and for each key 1 + its place there; 0: not ours. */
static size_t key_count;
static _Atomic uint8_t place_of[PTHREAD_KEYS_MAX];

static __thread bool learning;
static atomic_bool looking;
static _Atomic unsigned long long looked_at; /* how many objects had been loaded when we last looked */

struct wf_errqueues {
    void *of[MOST_COPIES]; /* a queue for each of the keys, or NULL */
    struct wf_errqueues *next_spare;
};

static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wf_errqueues *spare; /* of those who have ended: empty */

/* {=== The hooks ===} */

static void learn_key(pthread_key_t key)
{
    if (key < PTHREAD_KEYS_MAX && place_of[key] == 0 && key_count < MOST_COPIES)
        place_of[key] = (uint8_t)++key_count;
}

/* The green thread whose stack we are on, here or carried by another OS thread; or NULL. */
static struct wf_fiber *running(void)
{
    struct wf_worker *worker = wf_this_worker;
    struct wf_fiber *fiber = worker != NULL ? worker->current : wf_carried();

    return fiber == NULL || fiber->kind == WF_ROOT ? NULL : fiber;
}

/* The place of `key` if the running thread has a queue of its own for it, else -1. */
static inline int place(pthread_key_t key)
{
    if (wf_likely(key >= PTHREAD_KEYS_MAX || atomic_load_explicit(&place_of[key], memory_order_relaxed) == 0)
        || running() == NULL)
        return -1;
    return place_of[key] - 1;
}

static struct wf_errqueues *take_spare(void)
{
    struct wf_errqueues *queues;

    pthread_mutex_lock(&spare_lock);
    queues = spare;
    if (queues != NULL)
        spare = queues->next_spare;
    pthread_mutex_unlock(&spare_lock);
    return queues;
}

static void *hook_pthread_getspecific(pthread_key_t key)
{
    int at = place(key);
    struct wf_belongings *owned;

    if (wf_unlikely(learning))
        learn_key(key);
    if (wf_likely(at < 0))
        return real_pthread_getspecific(key);
    owned = wf_fiber_belongings(running());
    if (owned == NULL)
        return NULL;
    if (owned->errqueues == NULL)
        owned->errqueues = take_spare();
    return owned->errqueues == NULL ? NULL : owned->errqueues->of[at];
}

static int hook_pthread_setspecific(pthread_key_t key, const void *value)
{
    int at = place(key);
    struct wf_belongings *owned;

    if (wf_likely(at < 0))
        return real_pthread_setspecific(key, value);
    owned = wf_fiber_belongings(running());
    if (owned != NULL && owned->errqueues == NULL)
        owned->errqueues = calloc(1, sizeof *owned->errqueues);
    if (owned == NULL || owned->errqueues == NULL)
        return ENOMEM;
    owned->errqueues->of[at] = (void *)value;
    return 0;
}

void wf_errqueue_end(struct wf_fiber *fiber)
{
    struct wf_belongings *owned = wf_fiber_has(fiber);

    if (wf_likely(owned == NULL || owned->errqueues == NULL))
        return;
    for (size_t i = 0; i < copy_count; i++)
        copies[i].clear_error();
    pthread_mutex_lock(&spare_lock);
    owned->errqueues->next_spare = spare;
    spare = owned->errqueues;
    pthread_mutex_unlock(&spare_lock);
    owned->errqueues = NULL;
}

/* {=== Copies of libcrypto ===} */

/* Asks twice: the first time the OS thread may get its queue, and that takes other keys as well. */
static void learn_keys(const struct copy *copy)
{
    copy->peek_error();
    learning = true;
    copy->peek_error();
    learning = false;
}

static void add_copy(void *handle)
{
    struct copy copy = {dlsym(handle, "ERR_peek_error"), dlsym(handle, "ERR_clear_error")};

    if (copy.peek_error == NULL || copy.clear_error == NULL || copy_count == MOST_COPIES)
        return;
    for (size_t i = 0; i < copy_count; i++)
        if (copies[i].peek_error == copy.peek_error)
            return;
    learn_keys(&copy);
    copies[copy_count++] = copy;
}

struct names {
    char *of[MOST_COPIES];
    size_t count;
};

/* ld.so's list is locked meanwhile: no dlopen in here. */
static int note_name(struct dl_phdr_info *info, size_t size, void *context)
{
    struct names *names = context;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *file = slash != NULL ? slash + 1 : info->dlpi_name;

    (void)size;
    if (strncmp(file, "libcrypto", strlen("libcrypto")) == 0 && names->count < MOST_COPIES)
        names->of[names->count++] = strdup(info->dlpi_name);
    return 0;
}

static int note_adds(struct dl_phdr_info *info, size_t size, void *adds)
{
    (void)size;
    *(unsigned long long *)adds = info->dlpi_adds;
    return 1; /* every object tells the same */
}

static void look(void)
{
    struct names names = {.count = 0};

    dl_iterate_phdr(note_name, &names);
    for (size_t i = 0; i < names.count; i++) {
        void *handle = names.of[i] ? dlopen(names.of[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) : NULL;
        if (handle != NULL)
            add_copy(handle);
        free(names.of[i]);
    }
}

/* Asking a libcrypto may bring us here again, and so may another OS thread: it is enough if one of them looks, as
 * whoever loads a library calls more than once. */
void wf_errqueue_look(void)
{
    unsigned long long adds;

    dl_iterate_phdr(note_adds, &adds);
    if (adds == looked_at || atomic_exchange(&looking, true))
        return;
    look();
    looked_at = adds;
    atomic_store(&looking, false);
}

void wf_errqueue_after_fork(void)
{
    pthread_mutex_init(&spare_lock, NULL);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pthread_getspecific, WF_HOOK_LIBRARY),
    WF_HOOK(pthread_setspecific, WF_HOOK_LIBRARY),
};

WF_HOOK_FAMILY(errqueue);
