/* inbox.c - the lock-free stack, the flag and the eventfd behind inbox.h.
 *
 * The full barriers of the protocol in inbox.h are its accesses themselves: the push, the
 * nudge, and both sides' use of `polling` are sequentially consistent, so all threads agree on
 * one order of them.  Either the poster's look at `polling` comes after the worker's
 * announcement, or the worker's look at the inbox comes after the push.
 *
 * The worker is the only one who takes, and it takes everything, so a node can never
 * come back to the top behind a poster's back (no ABA).
 */
#include "inbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A lock would deadlock when a signal handler posts on top of a post. */
_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_BOOL_LOCK_FREE == 2, "posting is lock-free");

int wf_inbox_init(struct wf_inbox *inbox)
{
    atomic_init(&inbox->polling, false);
    atomic_init(&inbox->nudged, false);
    inbox->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return inbox->event_fd < 0 ? -1 : 0;
}

void wf_inbox_term(struct wf_inbox *inbox)
{
    if (inbox->event_fd >= 0)
        close(inbox->event_fd);
    inbox->event_fd = -1;
}

/* === Any thread, any signal handler ================================================ */

/* Wakes the worker if it sleeps or is about to.  Should the write fail because the counter is
 * full, then the descriptor is readable already, and that is all we want. */
static void ring(struct wf_inbox *inbox)
{
    if (!atomic_load(&inbox->polling))
        return;
    int saved_errno = errno;
    uint64_t one = 1;
    if (write(inbox->event_fd, &one, sizeof one) < 0)
        errno = saved_errno;
}

void wf_inbox_post(struct wf_inbox *inbox, struct wf_inbox_node *node)
{
    struct wf_inbox_node *newest = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do
        node->next = newest;
    while (!atomic_compare_exchange_weak(&inbox->head, &newest, node));
    ring(inbox);
}

void wf_inbox_nudge(struct wf_inbox *inbox)
{
    atomic_store(&inbox->nudged, true);
    ring(inbox);
}

/* === The worker ==================================================================== */

struct wf_inbox_node *wf_inbox_take(struct wf_inbox *inbox)
{
    if (!atomic_load_explicit(&inbox->head, memory_order_relaxed))
        return NULL;
    struct wf_inbox_node *newest = atomic_exchange(&inbox->head, NULL), *oldest = NULL;
    while (newest) {
        struct wf_inbox_node *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

bool wf_inbox_begin_poll(struct wf_inbox *inbox)
{
    atomic_store(&inbox->polling, true);
    if (!atomic_load(&inbox->head) && !atomic_load(&inbox->nudged))
        return true;
    atomic_store_explicit(&inbox->polling, false, memory_order_relaxed);
    return false;
}

/* To be called after a refused begin_poll too: nothing else clears the nudge.
 *
 * Taking `polling` back needs no order: a poster who still sees it writes once too often.
 * Whoever nudges after our look at `nudged` is found by the next begin_poll. */
bool wf_inbox_end_poll(struct wf_inbox *inbox, bool fd_ready)
{
    atomic_store_explicit(&inbox->polling, false, memory_order_relaxed);
    uint64_t count;
    if (fd_ready && read(inbox->event_fd, &count, sizeof count) < 0)
        wf_assert(errno == EAGAIN, "the eventfd is gone");
    return atomic_load(&inbox->nudged) && atomic_exchange(&inbox->nudged, false);
}
