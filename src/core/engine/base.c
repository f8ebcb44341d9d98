/* base.c - the end of the line: one message, one abort; and the virtual clock.
 *
 * wf_panic is called with a broken world around it, perhaps from a signal handler
 * on an alternate stack.  So it allocates nothing, locks nothing, and hands the kernel one
 * buffer in one write: the messages of two dying threads do not mix.
 */
#include "base.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Appends what fits of `text`; returns the new end. */
static char *append(char *end, const char *limit, const char *text)
{
    size_t room = (size_t)(limit - end), len = strlen(text);
    if (len > room)
        len = room;
    memcpy(end, text, len);
    return end + len;
}

void wf_panic(const char *where, const char *fact)
{
    char message[256];
    char *end = message, *limit = message + sizeof message - 1; /* the newline always fits */
    end = append(end, limit, "weft: ");
    end = append(end, limit, where);
    end = append(end, limit, ": ");
    end = append(end, limit, fact);
    *end++ = '\n';
    if (write(STDERR_FILENO, message, (size_t)(end - message)) < 0) {
        /* Nowhere left to complain to. */
    }
    abort();
}

/* {=== The virtual clock ===} */

/* A program that asks for the time so often before it moves is waiting for it in a loop ... */
#define PATIENT_FOR 100000

/* ... and from then on moves it by so much each time. */
#define STEP_NS (WF_NS_PER_MS / 10)

__thread struct wf_clock *wf_clock;

void wf_clock_start(struct wf_clock *clock, int64_t now_ns, int64_t wall_ns)
{
    *clock = (struct wf_clock){.stands = true, .now_ns = now_ns, .wall_ns = wall_ns - now_ns};
}

void wf_clock_stop(struct wf_clock *clock)
{
    if (clock->stands)
        clock->now_ns -= wf_real_now_ns();
    clock->stands = false;
}

void wf_clock_jump(struct wf_clock *clock, int64_t now_ns)
{
    clock->now_ns = now_ns;
    clock->asked = 0;
}

void wf_clock_asked(struct wf_clock *clock, unsigned times)
{
    clock->asked += times;
    if (clock->stands && clock->asked > PATIENT_FOR) {
        clock->asked = PATIENT_FOR;
        clock->now_ns += STEP_NS;
    }
}
