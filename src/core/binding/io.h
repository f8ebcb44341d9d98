/* io.h - one blocking call on one descriptor, made of tries that do not block and waits that park.
 *
 * The shape of every such hook:
 *
 *     struct wf_io io = wf_io_begin(worker, fd, WF_IO_READ);
 *     do {
 *         if (io.unwaitable) return real_call(...);    a regular file: it is always ready
 *         try without blocking; if it is done or failed, return
 *     } while (wf_io_wait(&io));
 *     return -1;                                       errno says why
 *
 * We never touch O_NONBLOCK behind the user's back (it belongs to the open file, which forked
 * children share).  How the user wants the file to block (his own O_NONBLOCK, SO_RCVTIMEO,
 * SO_SNDTIMEO) is asked only when a try found nothing, and remembered as long as nobody
 * called a function that could change it for any file: a global epoch.
 */
#ifndef WF_IO_H
#define WF_IO_H

#include "sched.h"

enum wf_io_direction { WF_IO_READ, WF_IO_WRITE, WF_IO_CONNECT };

struct wf_io {
    struct wf_worker *worker;
    struct wf_fd *file;  /* NULL if nothing can be known of it */
    int fd;
    enum wf_io_direction direction;
    bool unwaitable;     /* such a file cannot be waited for: make the real call */
    int64_t deadline_ns; /* from SO_RCVTIMEO or SO_SNDTIMEO; 0: not asked yet */
};

static inline struct wf_io wf_io_begin(struct wf_worker *worker, int fd, enum wf_io_direction direction)
{
    return (struct wf_io){
        .worker = worker,
        .file = wf_reactor_fd(&worker->reactor, fd),
        .fd = fd,
        .direction = direction,
    };
}

/* Parks until it is worth trying again: true.  False with errno: EAGAIN (the user wants no waiting, or
 * no longer), EINTR, EBADF (closed meanwhile), ... */
bool wf_io_wait(struct wf_io *io);

/* Parks for a short while, for what gives no event: true; false with errno as above. */
bool wf_io_back_off(struct wf_io *io);

/* Changes whenever some file's way of blocking may have changed; never 0. */
extern _Atomic uint32_t wf_io_mode_epoch;

/* Does the file block plainly, as far as we remember: no O_NONBLOCK, no timeouts? */
static inline bool wf_io_known_plain(const struct wf_io *io)
{
    return io->file != NULL
           && io->file->mode_epoch
                  == atomic_load_explicit(&wf_io_mode_epoch, memory_order_relaxed);
}

/* reactor.h, fact 3: nothing can be there, do not even try.  Only for who is going to wait, since edges not
 * yet collected may prove us wrong: a file that is not plain must be tried. */
static inline bool wf_io_known_empty(const struct wf_io *io)
{
    return wf_io_known_plain(io) && io->file->drained;
}

/* A plain read of `wanted` bytes gave `got`. */
static inline void wf_io_note_read(const struct wf_io *io, ssize_t got, size_t wanted)
{
    if (io->file != NULL && io->file->tcp && got > 0 && (size_t)got < wanted
        && !io->file->unguessable)
        io->file->drained = true;
}

/* A descriptor was made: whatever we knew of the number is void.  `own`: nobody else can have it yet, and it is closed
 * on exec. */
void wf_io_opened(struct wf_worker *worker, int fd, bool tcp, bool own);

/* Some descriptor, we do not know which, may have come into other hands: a fork, one sent, one kept over an exec. */
void wf_io_shared(void);

/* May others, in this process or elsewhere, hold the open file?  If so what we saw ready may be gone when we
 * come to take it. */
bool wf_io_may_be_shared(const struct wf_io *io);

/* A descriptor is about to be closed or replaced: its waiters in this OS thread get EBADF. */
void wf_io_closing(int fd);

/* Descriptors from `first` to `last` have been: those who wait for them in other OS threads look again. */
void wf_io_closed(int first, int last);

/* Somebody made some file non-blocking, or gave a socket a timeout. */
void wf_io_mode_changed(void);

/* Is `fd` one end of a connection? */
bool wf_io_is_connection(int fd);

/* Is `fd` a TCP socket?  Asks the kernel the first time. */
bool wf_io_is_tcp(const struct wf_io *io);

#endif
