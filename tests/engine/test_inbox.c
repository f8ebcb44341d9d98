/* test_inbox.c - nothing posted is lost, and nobody sleeps through a message. */
#include "check.h"
#include "inbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

struct message {
    struct wf_inbox_node node;
    int sender, number;
};

static struct wf_inbox inbox;

static void open_inbox(void)
{
    CHECK(wf_inbox_init(&inbox) == 0);
}

static void close_inbox(void)
{
    wf_inbox_term(&inbox);
    CHECK(inbox.event_fd == -1);
}

/* Would the worker wake up within `timeout_ms`? */
static bool rung(int timeout_ms)
{
    struct pollfd pollfd = { .fd = inbox.event_fd, .events = POLLIN };
    return poll(&pollfd, 1, timeout_ms) == 1;
}

static void messages_come_out_in_the_order_they_went_in(void)
{
    struct message messages[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    open_inbox();
    CHECK(wf_inbox_take(&inbox) == NULL);
    for (int i = 0; i < 3; i++)
        wf_inbox_post(&inbox, &messages[i].node);
    struct wf_inbox_node *node = wf_inbox_take(&inbox);
    for (int i = 0; i < 3; i++, node = node->next)
        CHECK(wf_container_of(node, struct message, node)->number == i);
    CHECK(node == NULL);
    CHECK(wf_inbox_take(&inbox) == NULL);
    close_inbox();
}

static void the_eventfd_is_written_only_while_the_worker_polls(void)
{
    struct message messages[2];
    open_inbox();
    wf_inbox_post(&inbox, &messages[0].node);
    CHECK(!rung(0));
    wf_inbox_take(&inbox);
    CHECK(wf_inbox_begin_poll(&inbox));
    wf_inbox_post(&inbox, &messages[1].node);
    CHECK(rung(0));
    CHECK(!wf_inbox_end_poll(&inbox, true));
    CHECK(!rung(0)); /* emptied */
    CHECK(wf_inbox_take(&inbox) == &messages[1].node);
    close_inbox();
}

static void begin_poll_refuses_while_something_is_posted(void)
{
    struct message message;
    open_inbox();
    wf_inbox_post(&inbox, &message.node);
    CHECK(!wf_inbox_begin_poll(&inbox));
    wf_inbox_nudge(&inbox);
    CHECK(!rung(0)); /* nor did the refusal announce sleep */
    CHECK(wf_inbox_end_poll(&inbox, false));
    wf_inbox_take(&inbox);
    CHECK(wf_inbox_begin_poll(&inbox));
    CHECK(!wf_inbox_end_poll(&inbox, false));
    close_inbox();
}

static void a_nudge_is_seen_exactly_once(void)
{
    open_inbox();
    wf_inbox_nudge(&inbox);
    wf_inbox_nudge(&inbox);
    CHECK(!wf_inbox_begin_poll(&inbox));
    CHECK(wf_inbox_end_poll(&inbox, false));
    CHECK(wf_inbox_begin_poll(&inbox));
    CHECK(!wf_inbox_end_poll(&inbox, false));
    CHECK(wf_inbox_take(&inbox) == NULL);
    close_inbox();
}

static void a_full_counter_loses_nothing(void)
{
    struct message message;
    uint64_t most = UINT64_MAX - 1;
    open_inbox();
    CHECK(wf_inbox_begin_poll(&inbox));
    CHECK(write(inbox.event_fd, &most, sizeof most) == sizeof most);
    errno = 77;
    wf_inbox_post(&inbox, &message.node);
    CHECK(errno == 77);
    CHECK(rung(0));
    wf_inbox_end_poll(&inbox, true);
    CHECK(wf_inbox_take(&inbox) == &message.node);
    close_inbox();
}

static void nudge_from_handler(int signal_number)
{
    (void)signal_number;
    wf_inbox_nudge(&inbox);
}

static void a_signal_handler_wakes_the_worker(void)
{
    open_inbox();
    signal(SIGUSR1, nudge_from_handler);
    CHECK(wf_inbox_begin_poll(&inbox));
    errno = 77;
    raise(SIGUSR1);
    CHECK(errno == 77);
    CHECK(rung(0));
    CHECK(wf_inbox_end_poll(&inbox, true));
    signal(SIGUSR1, SIG_DFL);
    close_inbox();
}

/* === Many threads ================================================================== */

enum { SENDERS = 4, EACH = 5000 };
static struct message mail[SENDERS][EACH];

static void *send_all(void *sender)
{
    for (int i = 0; i < EACH; i++)
        wf_inbox_post(&inbox, &((struct message *)sender)[i].node);
    return NULL;
}

/* One sleep as the scheduler does it.  If a wake-up can get lost, it gets lost here. */
static void sleep_until_rung(void)
{
    bool ready = false;
    if (wf_inbox_begin_poll(&inbox)) {
        ready = rung(10000);
        CHECK(ready);
    }
    wf_inbox_end_poll(&inbox, ready);
}

static void many_threads_lose_nothing(void)
{
    pthread_t threads[SENDERS];
    int next[SENDERS] = { 0 };
    open_inbox();
    for (int s = 0; s < SENDERS; s++) {
        for (int i = 0; i < EACH; i++)
            mail[s][i] = (struct message){ .sender = s, .number = i };
        CHECK(pthread_create(&threads[s], NULL, send_all, mail[s]) == 0);
    }
    for (int taken = 0; taken < SENDERS * EACH;) {
        struct wf_inbox_node *node = wf_inbox_take(&inbox);
        if (!node)
            sleep_until_rung();
        for (; node; node = node->next, taken++) {
            struct message *message = wf_container_of(node, struct message, node);
            CHECK(message->number == next[message->sender]++);
        }
    }
    for (int s = 0; s < SENDERS; s++)
        CHECK(pthread_join(threads[s], NULL) == 0);
    CHECK(wf_inbox_take(&inbox) == NULL);
    close_inbox();
}

int main(void)
{
    RUN(messages_come_out_in_the_order_they_went_in);
    RUN(the_eventfd_is_written_only_while_the_worker_polls);
    RUN(begin_poll_refuses_while_something_is_posted);
    RUN(a_nudge_is_seen_exactly_once);
    RUN(a_full_counter_loses_nothing);
    RUN(a_signal_handler_wakes_the_worker);
    RUN(many_threads_lose_nothing);
}
