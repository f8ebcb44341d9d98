/* test_base.c - the panic message, the arithmetic of deadlines, and the virtual clock. */
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

static void a_virtual_clock_stands_and_jumps(void)
{
    struct wf_clock clock;
    wf_clock_start(&clock, 100, 5000);
    wf_clock = &clock;
    CHECK(wf_now_ns() == 100 && wf_wall_ns() == 5000);
    CHECK(wf_deadline(7) == 107);
    CHECK(wf_deadline_at(CLOCK_REALTIME, &(struct timespec){ .tv_nsec = 5003 }) == 103);
    wf_clock_jump(&clock, 200);
    CHECK(wf_now_ns() == 200 && wf_wall_ns() == 5100);
    wf_clock = NULL;
    CHECK(wf_now_ns() > 200);
}

static void a_stopped_clock_goes_on_from_where_it_was(void)
{
    struct wf_clock clock;
    int64_t ahead = wf_real_now_ns() + 3600 * WF_NS_PER_S;
    wf_clock_start(&clock, ahead, 0);
    wf_clock = &clock;
    wf_clock_stop(&clock);
    int64_t now = wf_now_ns();
    CHECK(ahead <= now && now < ahead + 1800 * WF_NS_PER_S);
    CHECK(wf_wall_ns() > 1800 * WF_NS_PER_S); /* the real one */
    wf_clock_stop(&clock);
    CHECK(wf_now_ns() >= now);
    wf_clock = NULL;
}

static void who_asks_very_often_sees_time_pass(void)
{
    struct wf_clock clock;
    wf_clock_start(&clock, 0, 0);
    for (int i = 0; i < 1000; i++)
        wf_clock_asked(&clock, 1);
    CHECK(clock.now_ns == 0);
    for (int i = 0; i < 1000000; i++)
        wf_clock_asked(&clock, 1);
    CHECK(clock.now_ns > WF_NS_PER_S);
    int64_t before = clock.now_ns;
    wf_clock_jump(&clock, before + 1);
    wf_clock_asked(&clock, 1);
    CHECK(clock.now_ns == before + 1);
}

int main(void)
{
    RUN_IF_NATIVE(panic_names_function_and_fact);
    RUN_IF_NATIVE(panic_cuts_what_does_not_fit);
    RUN(deadlines_saturate);
    RUN(timespecs_saturate);
    RUN(a_virtual_clock_stands_and_jumps);
    RUN(a_stopped_clock_goes_on_from_where_it_was);
    RUN(who_asks_very_often_sees_time_pass);
}
