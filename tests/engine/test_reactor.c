/* test_reactor.c - the facts of reactor.h, one test each, against the real epoll. */
#include "check.h"
#include "reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define NOBODY ((void *)0x1)

static struct wf_reactor reactor;
static int wake_fd;
static int wakes; /* since the last look */

static void count_wake(struct wf_io_waiter *waiter)
{
    CHECK(waiter->owner == NOBODY);
    wakes++;
}

static void open_reactor(void)
{
    wake_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(wf_reactor_init(&reactor, wake_fd, count_wake) == 0);
    wakes = 0;
}

static void close_reactor(void)
{
    CHECK(reactor.waiting == 0);
    wf_reactor_term(&reactor);
    close(wake_fd);
}

static int look(void)
{
    wakes = 0;
    wf_reactor_poll(&reactor, 0);
    return wakes;
}

static void socket_pair(int ends[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
}

static void close_pair(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void wait_for(struct wf_io_waiter *waiter, int fd, uint32_t events, int64_t now_ns)
{
    CHECK(wf_reactor_wait(&reactor, waiter, fd, events, NOBODY, 7, now_ns) == 0);
}

static void put_byte(int fd)
{
    CHECK(write(fd, "x", 1) == 1);
}

static void get_byte(int fd)
{
    char byte;
    CHECK(read(fd, &byte, 1) == 1);
}

static void what_is_ready_already_is_told_at_the_first_registration(void)
{
    struct wf_io_waiter waiter;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    put_byte(ends[1]);
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    CHECK(look() == 1);
    CHECK(waiter.revents & EPOLLIN);
    CHECK(waiter.token == 7 && !waiter.closed);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_reactor();
}

static void an_edge_between_the_look_and_the_wait_is_not_lost(void)
{
    struct wf_io_waiter waiter;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&waiter, ends[0], EPOLLIN, 0); /* registers */
    wf_reactor_unwait(&reactor, &waiter);
    put_byte(ends[1]); /* nobody waits just now */
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    CHECK(look() == 1);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_reactor();
}

static void only_those_concerned_are_woken(void)
{
    struct wf_io_waiter reader, writer;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    char block[4096];
    memset(block, 0, sizeof block);
    while (write(ends[0], block, sizeof block) > 0)
        ;
    CHECK(errno == EAGAIN);
    wait_for(&reader, ends[0], EPOLLIN, 0);
    wait_for(&writer, ends[0], EPOLLOUT, 0);
    CHECK(look() == 0);
    put_byte(ends[1]);
    CHECK(look() == 1);
    CHECK(reader.revents != 0 && writer.revents == 0);
    wf_reactor_unwait(&reactor, &reader);
    wf_reactor_unwait(&reactor, &writer);
    close_pair(ends);
    close_reactor();
}

static void all_readers_of_one_descriptor_are_woken(void)
{
    struct wf_io_waiter first, second;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&first, ends[0], EPOLLIN, 0);
    wait_for(&second, ends[0], EPOLLIN, 0);
    put_byte(ends[1]);
    CHECK(look() == 2);
    CHECK(look() == 0); /* and once only */
    wf_reactor_unwait(&reactor, &first);
    wf_reactor_unwait(&reactor, &second);
    close_pair(ends);
    close_reactor();
}

static void the_end_of_the_stream_wakes_and_stops_the_guessing(void)
{
    struct wf_io_waiter waiter;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    wf_reactor_fd(&reactor, ends[0])->drained = true;
    shutdown(ends[1], SHUT_WR);
    CHECK(look() == 1);
    CHECK(wf_reactor_fd(&reactor, ends[0])->unguessable);
    CHECK(!wf_reactor_fd(&reactor, ends[0])->drained);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_reactor();
}

static void forgetting_wakes_as_closed_and_drops_what_still_comes(void)
{
    struct wf_io_waiter waiter;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    wf_reactor_forget(&reactor, ends[0]);
    CHECK(wakes == 1 && waiter.closed);
    wf_reactor_unwait(&reactor, &waiter);
    CHECK(!wf_reactor_registered_any(&reactor, ends[0], ends[0]));

    /* The file lives on under its old registration, of an older generation. */
    put_byte(ends[1]);
    CHECK(look() == 0);
    /* A new wait finds the kernel's registration there already and takes it over. */
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    CHECK(look() == 1);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_reactor();
}

static void a_number_reused_behind_our_back_costs_a_doubt_not_a_hang(void)
{
    struct wf_io_waiter waiter;
    int ends[2], others[2], number;

    open_reactor();
    socket_pair(ends);
    number = ends[0];
    wait_for(&waiter, number, EPOLLIN, 0);
    wf_reactor_unwait(&reactor, &waiter);
    /* dup2 straight from this test: the reactor is not told. */
    socket_pair(others);
    CHECK(dup2(others[0], number) == number);
    put_byte(others[1]);

    wait_for(&waiter, number, EPOLLIN, 1000);
    CHECK(look() == 0); /* it relies on a registration that is gone */
    CHECK(wf_reactor_next_doubt(&reactor) == 1000 + WF_DOUBT_NS);
    wf_reactor_doubt(&reactor, 1000 + WF_DOUBT_NS - 1);
    CHECK(wakes == 0);
    wf_reactor_doubt(&reactor, 1000 + WF_DOUBT_NS);
    CHECK(wakes == 1 && waiter.revents == 0);
    wf_reactor_unwait(&reactor, &waiter);

    wait_for(&waiter, number, EPOLLIN, 2000); /* the second try registers anew */
    CHECK(wf_reactor_next_doubt(&reactor) == WF_NEVER);
    CHECK(look() == 1);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_pair(others);
    close_reactor();
}

static void a_first_registration_is_never_doubted(void)
{
    struct wf_io_waiter waiter;
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&waiter, ends[0], EPOLLIN, 0);
    CHECK(wf_reactor_next_doubt(&reactor) == WF_NEVER);
    wf_reactor_unwait(&reactor, &waiter);
    close_pair(ends);
    close_reactor();
}

static void doubting_all_wakes_all(void)
{
    struct wf_io_waiter waiters[2];
    int ends[2];

    open_reactor();
    socket_pair(ends);
    wait_for(&waiters[0], ends[0], EPOLLIN, 0);
    wait_for(&waiters[1], ends[1], EPOLLIN, 0);
    wf_reactor_doubt_all(&reactor);
    CHECK(wakes == 2);
    wf_reactor_unwait(&reactor, &waiters[0]);
    wf_reactor_unwait(&reactor, &waiters[1]);
    close_pair(ends);
    close_reactor();
}

static void what_cannot_be_waited_for_is_refused(void)
{
    struct wf_io_waiter waiter;
    int file = open("/", O_RDONLY | O_DIRECTORY);

    open_reactor();
    CHECK(wf_reactor_wait(&reactor, &waiter, file, EPOLLIN, NOBODY, 7, 0) < 0 && errno == EPERM);
    close(file);
    CHECK(wf_reactor_wait(&reactor, &waiter, file, EPOLLIN, NOBODY, 7, 0) < 0 && errno == EBADF);
    CHECK(wf_reactor_wait(&reactor, &waiter, -1, EPOLLIN, NOBODY, 7, 0) < 0 && errno == EBADF);
    close_reactor();
}

static void a_sleep_ends_with_the_timeout_or_with_the_wake_descriptor(void)
{
    int64_t before = wf_now_ns();
    uint64_t one = 1;

    open_reactor();
    CHECK(!wf_reactor_poll(&reactor, 2 * WF_NS_PER_MS));
    CHECK(wf_now_ns() - before >= 2 * WF_NS_PER_MS);
    CHECK(write(wake_fd, &one, sizeof one) == sizeof one);
    CHECK(wf_reactor_poll(&reactor, -1));
    close_reactor();
}

static void an_epoll_descriptor_can_itself_be_waited_for(void)
{
    struct wf_io_waiter waiter;
    struct epoll_event event = {.events = EPOLLIN};
    int inner = epoll_create1(0), ends[2];

    open_reactor();
    socket_pair(ends);
    CHECK(epoll_ctl(inner, EPOLL_CTL_ADD, ends[0], &event) == 0);
    for (int round = 0; round < 3; round++) { /* an edge for every event, not just for the first */
        wait_for(&waiter, inner, EPOLLIN, 0);
        CHECK(look() == 0);
        put_byte(ends[1]);
        CHECK(look() == 1);
        wf_reactor_unwait(&reactor, &waiter);
        get_byte(ends[0]);
        CHECK(epoll_wait(inner, &event, 1, 0) == 0);
    }
    close(inner);
    close_pair(ends);
    close_reactor();
}

int main(void)
{
    RUN(what_is_ready_already_is_told_at_the_first_registration);
    RUN(an_edge_between_the_look_and_the_wait_is_not_lost);
    RUN(only_those_concerned_are_woken);
    RUN(all_readers_of_one_descriptor_are_woken);
    RUN(the_end_of_the_stream_wakes_and_stops_the_guessing);
    RUN(forgetting_wakes_as_closed_and_drops_what_still_comes);
    RUN(a_number_reused_behind_our_back_costs_a_doubt_not_a_hang);
    RUN(a_first_registration_is_never_doubted);
    RUN(doubting_all_wakes_all);
    RUN(what_cannot_be_waited_for_is_refused);
    RUN(a_sleep_ends_with_the_timeout_or_with_the_wake_descriptor);
    RUN(an_epoll_descriptor_can_itself_be_waited_for);
    return 0;
}
