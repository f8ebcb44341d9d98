/* echo_server.c - the least that an echo server on epoll can do: the floor of echo.py.
 *
 *     echo_server CONNECTIONS
 *
 * Prints its port, serves one message per readiness event, level-triggered, and ends when
 * CONNECTIONS clients have come and gone.  Messages are small, so a short send is an error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_EVENTS 256

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1024) != 0)
        die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static void accept_one(int epoll_fd, int listener)
{
    int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("accept4");
    watch(epoll_fd, fd);
}

/* 1 when the client has hung up, 0 otherwise. */
static int echo(int fd)
{
    char buffer[4096];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        close(fd);
        return 1;
    }
    if (send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
        die("send");
    return 0;
}

int main(int argc, char **argv)
{
    struct epoll_event events[MAX_EVENTS];
    int left = argc > 1 ? atoi(argv[1]) : 1;
    int listener = open_listener();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    watch(epoll_fd, listener);
    while (left > 0) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_one(epoll_fd, listener);
            else
                left -= echo(events[i].data.fd);
        }
    }
    return 0;
}
