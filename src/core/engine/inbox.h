/* inbox.h - the one door through which other OS threads and signal handlers reach a worker.
 *
 * Posting pushes a node on a lock-free stack and, if the worker sleeps in its
 * reactor, writes to its eventfd.  The worker takes the whole stack at once and turns it
 * round, so messages come out in the order in which they were posted.
 *
 * The wake-up protocol, the two halves facing each other:
 *
 *     poster                          worker, before it sleeps
 *     1 push the node                 1 polling = true
 *     2 full barrier                  2 full barrier
 *     3 if polling: write eventfd     3 if the inbox is empty: sleep
 *
 * Whatever the interleaving, either the poster sees `polling` or the worker
 * sees the node.  A write too many is harmless (one spurious wake-up).
 *
 * wf_inbox_post and wf_inbox_nudge are async-signal-safe and lock-free.
 */
#ifndef WF_INBOX_H
#define WF_INBOX_H

#include "base.h"

#include <stdatomic.h>

struct wf_inbox_node {
    struct wf_inbox_node *next; /* the inbox's while posted */
};

struct wf_inbox {
    _Atomic(struct wf_inbox_node *) head; /* newest first */
    atomic_bool polling;                  /* the worker sleeps or is about to */
    atomic_bool nudged;                   /* a nudge not yet taken */
    int event_fd;                         /* -1 before init and after term */
};

/* 0, or -1 with errno.  An inbox must be zeroed before it is first used; one that was terminated may be initialized
 * again, and what was posted meanwhile is still in it. */
int wf_inbox_init(struct wf_inbox *inbox);
void wf_inbox_term(struct wf_inbox *inbox);

/* Hands the node over; it belongs to the inbox until it is taken. */
void wf_inbox_post(struct wf_inbox *inbox, struct wf_inbox_node *node);

/* Wakes the worker without a message.  Keeps errno. */
void wf_inbox_nudge(struct wf_inbox *inbox);

/* Everything posted so far, oldest first, linked by `next`; NULL if nothing.  Cheap when empty. */
struct wf_inbox_node *wf_inbox_take(struct wf_inbox *inbox);

/* Announces sleep.  False (and not announced) if there is something to take or a nudge is pending. */
bool wf_inbox_begin_poll(struct wf_inbox *inbox);

/* Ends what begin_poll announced, empties the eventfd if `fd_ready`, and clears the nudge.
 * Returns whether there was a nudge. */
bool wf_inbox_end_poll(struct wf_inbox *inbox, bool fd_ready);

#endif
