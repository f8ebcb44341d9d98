/* stubborn.c - a C library that simply tries again when a call is interrupted, as libpq does.
 *
 * Each function counts the interruptions it saw, and returns 0 or the error number with which it gave up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

int interruptions;

int stubborn_read(int fd)
{
    char byte;

    while (read(fd, &byte, 1) < 0) {
        if (errno != EINTR)
            return errno;
        interruptions++;
    }
    return 0;
}

int stubborn_poll(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    while (poll(&pollfd, 1, -1) < 0) {
        if (errno != EINTR)
            return errno;
        interruptions++;
    }
    return 0;
}

int stubborn_sleep(int seconds)
{
    struct timespec rest = {.tv_sec = seconds};

    while (nanosleep(&rest, &rest) < 0) {
        if (errno != EINTR)
            return errno;
        interruptions++;
    }
    return 0;
}

/* It believes that a semaphore cannot fail. */
int stubborn_sem_wait(sem_t *sem)
{
    while (sem_wait(sem) < 0) {
        if (errno != EINTR)
            return errno;
        interruptions++;
    }
    return 0;
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
