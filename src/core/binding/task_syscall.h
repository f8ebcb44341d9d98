/* task_syscall.h - which system call another OS thread of ours sleeps in.
 *
 * /proc/self/task/TID/syscall is one line: "running", or the call's number in decimal, its six arguments, the stack
 * pointer and the program counter in hexadecimal.
 */
#ifndef WF_TASK_SYSCALL_H
#define WF_TASK_SYSCALL_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

/* Room for the line, terminated. */
#define WF_TASK_SYSCALL_SIZE 256

/* Reads the line.  False if there is none to be had. */
static inline bool wf_task_syscall(pid_t tid, char line[WF_TASK_SYSCALL_SIZE])
{
    char path[64];
    ssize_t len;
    int fd;

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    len = read(fd, line, WF_TASK_SYSCALL_SIZE - 1);
    close(fd);
    line[len > 0 ? len : 0] = '\0';
    return true;
}

#endif
