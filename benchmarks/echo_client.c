/* echo_client.c - loads an echo server and measures what it makes the server pay.
 *
 *     echo_client PORT SERVER_PID CONNECTIONS SIZE WARM_UP ROUND_TRIPS CPU
 *
 * Opens CONNECTIONS connections and keeps one message of SIZE bytes under way on each, for
 * WARM_UP round trips per connection and then, after all have come to rest, for ROUND_TRIPS.
 * Every echo is compared with what was sent.
 *
 * The server's CPU time is read from *here*, from the clock of its process, right before the
 * first counted message leaves and right after the last has returned.  So every server is
 * measured alike, in nanoseconds, and none has to be told when to start counting.
 *
 * Pins itself to CPU (-1: not) and prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIZE 4096
#define MAX_EVENTS 256

struct connection {
    int fd;
    int left;         /* round trips still to start */
    size_t received;  /* bytes of the present echo */
    char sent[MAX_SIZE];
};

static size_t size;
static int epoll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) != 0)
        die("clock_gettime");
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("sched_setaffinity");
}

static int open_connection(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("TCP_NODELAY");
    return fd;
}

static void send_message(struct connection *c)
{
    /* The number of round trips left makes every message differ from the one before. */
    memcpy(c->sent, &c->left, sizeof c->left);
    c->left--;
    c->received = 0;
    if (send(c->fd, c->sent, size, MSG_NOSIGNAL) != (ssize_t)size)
        die("send");
}

/* True when the whole echo of a message is in. */
static bool receive(struct connection *c)
{
    char buffer[MAX_SIZE];
    ssize_t n = recv(c->fd, buffer, size - c->received, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return false;
        fprintf(stderr, "echo_client: the server closed a connection\n");
        exit(1);
    }
    if (memcmp(buffer, c->sent + c->received, (size_t)n) != 0) {
        fprintf(stderr, "echo_client: an echo differs from what was sent\n");
        exit(1);
    }
    c->received += (size_t)n;
    return c->received == size;
}

/* `round_trips` on every connection; returns when the last echo is in. */
static void run(struct connection *connections, int count, int round_trips)
{
    struct epoll_event events[MAX_EVENTS];
    int busy = count;
    for (int i = 0; i < count; i++) {
        connections[i].left = round_trips;
        send_message(&connections[i]);
    }
    while (busy > 0) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, 20000);
        if (ready == 0) {
            fprintf(stderr, "echo_client: the server has been silent for 20 s\n");
            exit(1);
        }
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!receive(c))
                continue;
            if (c->left > 0)
                send_message(c);
            else
                busy--;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "echo_client PORT SERVER_PID CONNECTIONS SIZE WARM_UP ROUND_TRIPS CPU\n");
        return 2;
    }
    int port = atoi(argv[1]);
    pid_t server = atoi(argv[2]);
    int count = atoi(argv[3]);
    size = (size_t)atoi(argv[4]);
    int warm_up = atoi(argv[5]), round_trips = atoi(argv[6]), cpu = atoi(argv[7]);
    clockid_t server_clock;

    if (count < 1 || size < sizeof(int) || size > MAX_SIZE || round_trips < 1) {
        fprintf(stderr, "echo_client: argument out of range\n");
        return 2;
    }
    if (cpu >= 0)
        pin(cpu);
    if (clock_getcpuclockid(server, &server_clock) != 0)
        die("clock_getcpuclockid");

    struct connection *connections = calloc((size_t)count, sizeof *connections);
    if (connections == NULL || (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = open_connection(port);
        memset(connections[i].sent, 'a' + i % 26, size);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event) != 0)
            die("epoll_ctl");
    }

    if (warm_up > 0)
        run(connections, count, warm_up);
    int64_t cpu_began = clock_ns(server_clock), wall_began = clock_ns(CLOCK_MONOTONIC);
    int64_t own_began = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    run(connections, count, round_trips);
    int64_t server_ns = clock_ns(server_clock) - cpu_began;
    int64_t wall_ns = clock_ns(CLOCK_MONOTONIC) - wall_began;
    int64_t client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_began;

    printf("{\"messages\": %lld, \"server_ns\": %lld, \"client_ns\": %lld, \"wall_ns\": %lld}\n",
           (long long)count * round_trips, (long long)server_ns, (long long)client_ns,
           (long long)wall_ns);
    return 0;
}
