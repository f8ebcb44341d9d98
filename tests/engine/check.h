/* check.h - as much of a test framework as the engine needs.
 *
 * A test is a function without arguments.  CHECK ends the program at the first broken
 * expectation; RUN says that a test came through.
 */
#ifndef WF_CHECK_H
#define WF_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifndef _WIN32
#include <sys/resource.h>
#include <sys/wait.h>
#endif

#define CHECK(expr) ((expr) ? (void)0 : check_failed(__FILE__, __LINE__, #expr))
#define RUN(test) (test(), (void)puts("ok " #test))

/* For what an emulator of processors does not do as a kernel does: qemu adds words of its own when a
 * process dies, and takes advice about memory that it does not know as if it had followed it. */
#ifdef WF_EMULATED
#define RUN_IF_NATIVE(test) ((void)test, (void)puts("not under an emulator: " #test))
#else
#define RUN_IF_NATIVE(test) RUN(test)
#endif

__attribute__((noreturn, unused)) static void check_failed(const char *file, int line,
                                                           const char *expr)
{
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, expr);
    fflush(NULL);
    _exit(1);
}

#ifndef _WIN32
/* Runs `body` in a child process, for what would end this one; returns how it ended, for
 * WEXITSTATUS and its kin.  A body that returns exits with 0. */
__attribute__((unused)) static int check_in_child(void (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        body();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}
#endif

#endif
