/* test_base.c - the panic message, and the arithmetic of deadlines. */
#include "base.h"
#include "check.h"

#include <signal.h>
#include <string.h>

static int message_pipe[2];

static void fail_an_assertion(void)
{
    dup2(message_pipe[1], STDERR_FILENO);
    wf_assert(1 + 1 == 3, "arithmetic is sound");
}

static void panic_with_a_long_fact(void)
{
    char fact[2000];
    memset(fact, 'x', sizeof fact - 1);
    fact[sizeof fact - 1] = '\0';
    dup2(message_pipe[1], STDERR_FILENO);
    wf_panic("here", fact);
}

/* What `body` wrote to standard error before it aborted. */
static const char *last_words(void (*body)(void))
{
    static char message[1000];
    CHECK(pipe(message_pipe) == 0);
    int status = check_in_child(body);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    ssize_t len = read(message_pipe[0], message, sizeof message - 1);
    CHECK(len > 0);
    message[len] = '\0';
    close(message_pipe[0]);
    close(message_pipe[1]);
    return message;
}

static void panic_names_function_and_fact(void)
{
    CHECK(!strcmp(last_words(fail_an_assertion), "weft: fail_an_assertion: arithmetic is sound\n"));
}

static void panic_cuts_what_does_not_fit(void)
{
    const char *message = last_words(panic_with_a_long_fact);
    CHECK(!strncmp(message, "weft: here: xxx", 15));
    CHECK(strlen(message) == 256 && message[255] == '\n');
}

static void deadlines_saturate(void)
{
    CHECK(wf_deadline(-1) == WF_NEVER);
    CHECK(wf_deadline(INT64_MAX) == WF_NEVER);
    int64_t before = wf_now_ns(), deadline = wf_deadline(5 * WF_NS_PER_MS);
    CHECK(before + 5 * WF_NS_PER_MS <= deadline);
    CHECK(deadline <= wf_now_ns() + 5 * WF_NS_PER_MS);
}

static void timespecs_saturate(void)
{
    CHECK(wf_timespec_ns(&(struct timespec){ .tv_sec = 3, .tv_nsec = 4 }) == 3 * WF_NS_PER_S + 4);
    CHECK(wf_timespec_ns(&(struct timespec){ .tv_sec = INT64_MAX, .tv_nsec = 0 }) == WF_NEVER);
}

int main(void)
{
    RUN_IF_NATIVE(panic_names_function_and_fact);
    RUN_IF_NATIVE(panic_cuts_what_does_not_fit);
    RUN(deadlines_saturate);
    RUN(timespecs_saturate);
}
