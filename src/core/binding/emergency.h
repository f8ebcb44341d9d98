/* emergency.h - what can be said of a green thread when the GIL is not to be had.
 *
 * In a signal handler, because the thread is in the middle of something; and while C code holds the GIL, because it may
 * hold it for ever.  So no lock is taken, no memory asked for and no object made: what is there is read as
 * it is (peek.h), and written to a descriptor in pieces.  Everything here is async-signal-safe.
 *
 * The stack is told innermost first, and a deep one without its middle.
 *
 * Rejected: _Py_DumpTraceback of CPython, which says "Stack (most recent call first)" and a hundred frames, and
 * follows pointers of a running thread where they lead.
 */
#ifndef WF_EMERGENCY_H
#define WF_EMERGENCY_H

#include "fiber.h"

struct wf_text {
    int fd;
    size_t len;
    char buffer[512];
};

void wf_say(struct wf_text *text, const char *words);
void wf_say_number(struct wf_text *text, uint64_t number);

/* Its name as far as it is known, and its identity. */
void wf_say_who(struct wf_text *text, const struct wf_fiber *fiber);

/* How many Python frames there are, as far as can be seen. */
size_t wf_stack_depth(PyThreadState *tstate);

/* One line for each frame. */
void wf_say_stack(struct wf_text *text, PyThreadState *tstate);

/* Writes what has been said. */
void wf_text_flush(struct wf_text *text);

#endif
