/* reactor.h - which descriptors have become ready, and who waits for them.
 *
 * Some facts about edge-triggered epoll, and what they mean here
 *
 *   1. An edge tells that something *happened*, not how things stand.  So nobody may
 *      wait before he has seen "not ready" with his own eyes (EAGAIN, poll() == 0), and whoever
 *      is woken must look again.  In return a descriptor is registered once, and
 *      a message costs no epoll_ctl.
 *   2. Events wait in the kernel until epoll_wait collects them.  A reader who saw "empty"
 *      and then waits cannot miss data that came in between: its edge is still to be collected.
 *   3. Hence, on a TCP socket, a read shorter than asked for means *drained*: everything that had come
 *      was taken, and whatever comes later makes an edge.  The next read need not even
 *      try.  The exceptions are all announced by the edge that was collected before: the end of the stream
 *      (RDHUP, HUP, ERR wait behind the data and make no further edge) and urgent data (PRI: a
 *      read stops at the mark).  Once one of them was seen, we stop guessing.
 *   4. A registration belongs to the open file, our knowledge to the number.  Numbers are reused,
 *      files are duplicated.  Each number has a generation, bumped when it is closed; events of
 *      an older generation are dropped.
 *   5. A close we did not see (inside libc, by a raw system call) leaves us believing in a
 *      registration that is gone.  So every waiter who relies on an older registration is *doubted*
 *      once, WF_DOUBT_NS after he began to wait: what is known of his descriptor
 *      is forgotten and he is woken to try again.  A stale guess costs a few system calls, never a hang.
 *
 * So that is why the code is the way it is.  The reactor knows nothing of green threads: a
 * waiter carries an owner and a token, and `wake` is called with it.
 *
 * A reactor belongs to one OS thread.  wf_reactor_registered_any alone may be asked by others.
 */
#ifndef WF_REACTOR_H
#define WF_REACTOR_H

#include "base.h"
#include "list.h"

#include <sys/epoll.h>

#define WF_DOUBT_NS (10 * WF_NS_PER_MS)
#define WF_FD_CHUNK 256   /* descriptors per chunk of the table */
#define WF_FD_CHUNKS 8192 /* so two million descriptors, beyond any sane RLIMIT_NOFILE */
#define WF_REACTOR_BATCH 256

/* What is known of one descriptor number. */
struct wf_fd {
    struct wf_list waiters;
    uint32_t generation;
    uint32_t mode_epoch; /* the owner's: equal to his epoch if the file is known to block plainly */
    uint32_t own_epoch;  /* the owner's: equal to his epoch if the file is known to be nobody else's */
    uint32_t registered; /* events it is registered for; 0 if it is not */
    bool tcp;            /* a TCP stream, so fact 3 holds */
    bool drained;        /* fact 3: the last read took all, and no edge has come since */
    bool unguessable;    /* the end of the stream or urgent data was announced */
    bool identified;     /* it was asked whether it is tcp */
    bool listed;         /* initialized */
};

/* One wait for one descriptor; lives on the waiting green thread's stack. */
struct wf_io_waiter {
    struct wf_list link;     /* on wf_fd.waiters */
    struct wf_list doubt;    /* on wf_reactor.doubted, if it relies on an older registration */
    void *owner;
    uint64_t token;
    int64_t since_ns;
    int fd;
    uint32_t events;
    uint32_t revents;        /* what happened; 0 after a doubt */
    bool closed;             /* the descriptor was closed meanwhile */
};

typedef void (*wf_io_wake)(struct wf_io_waiter *waiter);

struct wf_reactor {
    int epoll_fd;
    int wake_fd;             /* readable when the inbox has something; not ours */
    wf_io_wake wake;
    size_t waiting;          /* waiters linked anywhere */
    struct wf_list doubted;  /* oldest first */
    struct wf_fd *chunks[WF_FD_CHUNKS];
    /* Here and not on the stack: whoever polls may be a green thread that otherwise fills one page. */
    struct epoll_event events[WF_REACTOR_BATCH];
};

/* 0, or -1 with errno.  `wake_fd` is watched from the start, level-triggered. */
int wf_reactor_init(struct wf_reactor *reactor, int wake_fd, wf_io_wake wake);
void wf_reactor_term(struct wf_reactor *reactor);

/* What is known of `fd`; NULL if it is no descriptor or memory is short. */
struct wf_fd *wf_reactor_fd(struct wf_reactor *reactor, int fd);

/* Starts a wait of `owner` (named by `token`) for `events` (EPOLLIN, EPOLLOUT, EPOLLPRI) on `fd`.
 * 0, or -1 with errno: EPERM if such a file can never be waited for (a regular file is always ready), EBADF,
 * ENOMEM, ENOSPC.  `now_ns` may be a little old. */
int wf_reactor_wait(struct wf_reactor *reactor, struct wf_io_waiter *waiter, int fd,
                    uint32_t events, void *owner, uint64_t token, int64_t now_ns);

/* Ends the wait, whether it was woken or not. */
void wf_reactor_unwait(struct wf_reactor *reactor, struct wf_io_waiter *waiter);

/* `fd` is about to be closed or replaced: forgets it and wakes its waiters as `closed`. */
void wf_reactor_forget(struct wf_reactor *reactor, int fd);

/* Is any descriptor from `first` to `last` registered here?  A hint that other OS threads may ask for. */
bool wf_reactor_registered_any(const struct wf_reactor *reactor, int first, int last);

/* Is anything known of `fd`, so that there is something to forget? */
bool wf_reactor_knows(const struct wf_reactor *reactor, int fd);

/* Collects events and wakes; sleeps at most `timeout_ns` (0: not at all, negative: for
 * ever).  Returns whether wake_fd was readable.  An interrupted sleep returns early. */
bool wf_reactor_poll(struct wf_reactor *reactor, int64_t timeout_ns);

/* When the next doubt is due, or WF_NEVER. */
int64_t wf_reactor_next_doubt(const struct wf_reactor *reactor);

/* Doubts those whose time has come. */
void wf_reactor_doubt(struct wf_reactor *reactor, int64_t now_ns);

/* Doubts everybody at once: another OS thread closed a descriptor that is registered here. */
void wf_reactor_doubt_all(struct wf_reactor *reactor);

#endif
