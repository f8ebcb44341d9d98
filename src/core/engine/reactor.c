/* reactor.c - readiness by edge-triggered epoll; reactor.h has the facts it rests on. */
#include "reactor.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Always asked for: urgent data and the peer's end of stream are what makes fact 3 safe. */
#define ALWAYS (EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define END_OF_STREAM (EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define WAKE_TAG UINT64_MAX

static uint64_t tag_of(const struct wf_fd *file, int fd)
{
    return (uint64_t)file->generation << 32 | (uint32_t)fd;
}

int wf_reactor_init(struct wf_reactor *reactor, int wake_fd, wf_io_wake wake)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_TAG};

    memset(reactor, 0, sizeof *reactor);
    wf_list_init(&reactor->doubted);
    reactor->wake_fd = wake_fd;
    reactor->wake = wake;
    reactor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->epoll_fd < 0)
        return -1;
    if (epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) < 0) {
        int error = errno;
        close(reactor->epoll_fd);
        errno = error;
        return -1;
    }
    return 0;
}

void wf_reactor_term(struct wf_reactor *reactor)
{
    for (size_t i = 0; i < WF_FD_CHUNKS; i++)
        free(reactor->chunks[i]);
    close(reactor->epoll_fd);
    reactor->epoll_fd = -1;
}

/* {=== What is known of a number ===} */

static struct wf_fd *chunk_new(struct wf_reactor *reactor, int fd)
{
    struct wf_fd *chunk = calloc(WF_FD_CHUNK, sizeof *chunk);
    if (chunk != NULL)
        /* Others may ask wf_reactor_registered_any: they must find the chunk zeroed. */
        __atomic_store_n(&reactor->chunks[fd / WF_FD_CHUNK], chunk, __ATOMIC_RELEASE);
    return chunk;
}

struct wf_fd *wf_reactor_fd(struct wf_reactor *reactor, int fd)
{
    struct wf_fd *chunk, *file;

    if (wf_unlikely(fd < 0 || fd >= WF_FD_CHUNK * WF_FD_CHUNKS))
        return NULL;
    chunk = reactor->chunks[fd / WF_FD_CHUNK];
    if (wf_unlikely(chunk == NULL) && (chunk = chunk_new(reactor, fd)) == NULL)
        return NULL;
    file = &chunk[fd % WF_FD_CHUNK];
    if (wf_unlikely(!file->listed)) {
        wf_list_init(&file->waiters);
        file->listed = true;
    }
    return file;
}

bool wf_reactor_registered_any(const struct wf_reactor *reactor, int first, int last)
{
    if (last >= WF_FD_CHUNK * WF_FD_CHUNKS)
        last = WF_FD_CHUNK * WF_FD_CHUNKS - 1;
    for (int fd = first < 0 ? 0 : first; fd <= last; fd++) {
        const struct wf_fd *chunk =
            __atomic_load_n(&reactor->chunks[fd / WF_FD_CHUNK], __ATOMIC_ACQUIRE);
        if (chunk == NULL)
            fd |= WF_FD_CHUNK - 1;
        else if (__atomic_load_n(&chunk[fd % WF_FD_CHUNK].registered, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

bool wf_reactor_knows(const struct wf_reactor *reactor, int fd)
{
    const struct wf_fd *chunk;

    if (fd < 0 || fd >= WF_FD_CHUNK * WF_FD_CHUNKS)
        return false;
    chunk = reactor->chunks[fd / WF_FD_CHUNK];
    return chunk != NULL && chunk[fd % WF_FD_CHUNK].listed;
}

static void file_forget(struct wf_fd *file)
{
    file->generation++;
    file->mode_epoch = file->own_epoch = 0;
    __atomic_store_n(&file->registered, 0, __ATOMIC_RELAXED);
    file->tcp = file->identified = file->drained = file->unguessable = false;
}

/* {=== Waiting ===} */

/* Makes the kernel tell us of `events`.  *fresh: it will also tell of what is ready already. */
static int file_register(struct wf_reactor *reactor, struct wf_fd *file, int fd, uint32_t events,
                         bool *fresh)
{
    struct epoll_event event;
    uint32_t wanted = file->registered | events | ALWAYS;
    int op = file->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    *fresh = wanted != file->registered;
    if (!*fresh)
        return 0;
    event.events = wanted;
    event.data.u64 = tag_of(file, fd);
    while (epoll_ctl(reactor->epoll_fd, op, fd, &event) < 0) {
        /* We may be wrong about the number either way (fact 5); the kernel knows. */
        if (errno == EEXIST && op == EPOLL_CTL_ADD)
            op = EPOLL_CTL_MOD;
        else if (errno == ENOENT && op == EPOLL_CTL_MOD)
            op = EPOLL_CTL_ADD;
        else
            return -1;
    }
    __atomic_store_n(&file->registered, wanted, __ATOMIC_RELAXED);
    return 0;
}

int wf_reactor_wait(struct wf_reactor *reactor, struct wf_io_waiter *waiter, int fd,
                    uint32_t events, void *owner, uint64_t token, int64_t now_ns)
{
    struct wf_fd *file = wf_reactor_fd(reactor, fd);
    bool fresh;

    if (file == NULL) {
        errno = fd < 0 ? EBADF : ENOMEM;
        return -1;
    }
    if (file_register(reactor, file, fd, events, &fresh) < 0)
        return -1;
    waiter->owner = owner;
    waiter->token = token;
    waiter->since_ns = now_ns;
    waiter->fd = fd;
    waiter->events = events;
    waiter->revents = 0;
    waiter->closed = false;
    wf_list_init(&waiter->doubt);
    wf_list_push_back(&file->waiters, &waiter->link);
    if (!fresh)
        wf_list_push_back(&reactor->doubted, &waiter->doubt);
    reactor->waiting++;
    return 0;
}

void wf_reactor_unwait(struct wf_reactor *reactor, struct wf_io_waiter *waiter)
{
    wf_list_remove(&waiter->link);
    wf_list_remove(&waiter->doubt);
    wf_assert(reactor->waiting > 0, "a waiter was unlinked twice");
    reactor->waiting--;
}

/* The waiter leaves the lists at once, so that nobody wakes it twice; it counts as waiting until unwait. */
static void waiter_wake(struct wf_reactor *reactor, struct wf_io_waiter *waiter, uint32_t revents)
{
    wf_list_remove(&waiter->link);
    wf_list_remove(&waiter->doubt);
    waiter->revents |= revents;
    reactor->wake(waiter);
}

void wf_reactor_forget(struct wf_reactor *reactor, int fd)
{
    struct wf_fd *file = wf_reactor_fd(reactor, fd);

    if (file == NULL)
        return;
    file_forget(file);
    while (!wf_list_empty(&file->waiters)) {
        struct wf_io_waiter *waiter =
            wf_container_of(file->waiters.next, struct wf_io_waiter, link);
        waiter->closed = true;
        waiter_wake(reactor, waiter, EPOLLHUP);
    }
}

/* {=== Events ===} */

static bool concerns(const struct wf_io_waiter *waiter, uint32_t happened)
{
    if (happened & (EPOLLERR | EPOLLHUP))
        return true;
    if (happened & EPOLLRDHUP)
        happened |= EPOLLIN;
    return (waiter->events & happened) != 0;
}

static void file_happened(struct wf_reactor *reactor, struct wf_fd *file, uint32_t happened)
{
    struct wf_list *node = file->waiters.next;

    if (happened & ~(uint32_t)EPOLLOUT)
        file->drained = false;
    if (happened & (END_OF_STREAM | EPOLLPRI))
        file->unguessable = true;
    while (node != &file->waiters) {
        struct wf_io_waiter *waiter = wf_container_of(node, struct wf_io_waiter, link);
        node = node->next;
        if (concerns(waiter, happened))
            waiter_wake(reactor, waiter, happened);
    }
}

/* epoll_pwait2 counts in nanoseconds; kernels before 5.11 know milliseconds only. */
static int collect(int epoll_fd, struct epoll_event *events, int64_t timeout_ns)
{
    static bool millisecond_kernel;
    int64_t ms;

    if (timeout_ns == 0)
        return epoll_wait(epoll_fd, events, WF_REACTOR_BATCH, 0);
    if (timeout_ns < 0)
        return epoll_wait(epoll_fd, events, WF_REACTOR_BATCH, -1);
    if (!millisecond_kernel) {
        struct timespec ts = {timeout_ns / WF_NS_PER_S, timeout_ns % WF_NS_PER_S};
        int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, WF_REACTOR_BATCH, &ts, NULL, 0);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        millisecond_kernel = true;
    }
    ms = (timeout_ns + WF_NS_PER_MS - 1) / WF_NS_PER_MS;
    return epoll_wait(epoll_fd, events, WF_REACTOR_BATCH, ms > INT_MAX ? INT_MAX : (int)ms);
}

bool wf_reactor_poll(struct wf_reactor *reactor, int64_t timeout_ns)
{
    struct epoll_event *events = reactor->events;
    bool woken = false;
    int n = collect(reactor->epoll_fd, events, timeout_ns);

    wf_assert(n >= 0 || errno == EINTR, "epoll_wait failed");
    for (int i = 0; i < n; i++) {
        uint64_t tag = events[i].data.u64;
        struct wf_fd *file;
        if (tag == WAKE_TAG) {
            woken = true;
            continue;
        }
        file = wf_reactor_fd(reactor, (int)(uint32_t)tag);
        if (file != NULL && file->generation == tag >> 32)
            file_happened(reactor, file, events[i].events);
    }
    return woken;
}

int64_t wf_reactor_next_doubt(const struct wf_reactor *reactor)
{
    if (wf_list_empty(&reactor->doubted))
        return WF_NEVER;
    return wf_container_of(reactor->doubted.next, struct wf_io_waiter, doubt)->since_ns
           + WF_DOUBT_NS;
}

static void file_doubt(struct wf_reactor *reactor, struct wf_fd *file)
{
    file->mode_epoch = 0;
    file->drained = false;
    __atomic_store_n(&file->registered, 0, __ATOMIC_RELAXED);
    while (!wf_list_empty(&file->waiters))
        waiter_wake(reactor, wf_container_of(file->waiters.next, struct wf_io_waiter, link), 0);
}

void wf_reactor_doubt_all(struct wf_reactor *reactor)
{
    for (int fd = 0; fd < WF_FD_CHUNK * WF_FD_CHUNKS; fd++) {
        struct wf_fd *chunk = reactor->chunks[fd / WF_FD_CHUNK];
        if (chunk == NULL)
            fd += WF_FD_CHUNK - 1;
        else if (chunk[fd % WF_FD_CHUNK].listed)
            file_doubt(reactor, &chunk[fd % WF_FD_CHUNK]);
    }
}

void wf_reactor_doubt(struct wf_reactor *reactor, int64_t now_ns)
{
    while (wf_reactor_next_doubt(reactor) <= now_ns) {
        struct wf_io_waiter *waiter =
            wf_container_of(reactor->doubted.next, struct wf_io_waiter, doubt);
        file_doubt(reactor, wf_reactor_fd(reactor, waiter->fd));
    }
}
