/* stubborn.c - a C library that simply tries again when a call is interrupted, as libpq does.
 *
 * Each function counts the interruptions it saw, and notes the error number with which it gave up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int interruptions, gave_up;

/* What a call returned: shall it be tried again? */
static int again(int result)
{
    if (result >= 0)
        return 0;
    interruptions += errno == EINTR;
    if (errno == EINTR)
        return 1;
    gave_up = errno;
    return 0;
}

void stubborn_read(int fd)
{
    char byte;

    while (again((int)read(fd, &byte, 1)))
        ;
}

void stubborn_poll(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    while (again(poll(&pollfd, 1, -1)))
        ;
}

void stubborn_sleep(int seconds)
{
    struct timespec rest = {.tv_sec = seconds};

    while (again(nanosleep(&rest, &rest)))
        ;
}

/* As libpq waits: the socket does not block, poll does; and if poll fails it is not the socket's fault. */
void stubborn_conversation(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    char byte;

    while (recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN)
        while (again(poll(&pollfd, 1, -1)))
            ;
    gave_up = errno;
}

/* As MariaDB's client does. */
void stubborn_conversation_by_flags(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    char byte;

    while (!gave_up && recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
        while (again(poll(&pollfd, 1, -1)))
            ;
}

void stubborn_select(int fd)
{
    struct timeval hour = {.tv_sec = 3600};
    fd_set set;
    char byte;

    do {
        FD_ZERO(&set);
        FD_SET(fd, &set);
    } while (again(select(fd + 1, &set, NULL, NULL, &hour)));
    again((int)recv(fd, &byte, 1, 0));
}

/* It believes that a semaphore cannot fail. */
void stubborn_sem_wait(sem_t *sem)
{
    while (again(sem_wait(sem)))
        ;
}

int stubborn_sem_post(sem_t *sem)
{
    return sem_post(sem);
}

sem_t *stubborn_sem(void)
{
    static sem_t sem;

    sem_init(&sem, 0, 0);
    return &sem;
}

/* An extension module that waits with such a library, without the GIL, and raises an error of its own. */
void *PyEval_SaveThread(void);
void PyEval_RestoreThread(void *);
void *PyErr_SetFromErrno(void *);
extern void *PyExc_OSError;

void stubborn_extension(int fd)
{
    void *tstate = PyEval_SaveThread();

    stubborn_read(fd);
    PyEval_RestoreThread(tstate);
    errno = gave_up;
    if (gave_up)
        PyErr_SetFromErrno(PyExc_OSError);
}
