/* clock.h - virtual time: an OS thread's clock stands while its green threads run, and jumps when none can.
 *
 * base.h has the clock, and every deadline of the core is a time of it.  Three things more make it the time of
 * the program:
 *   - what programs read (clock_gettime, gettimeofday, time) tells it, by hooks that are installed when the first virtual
 *     clock is started: until then a reading of the clock costs what it costs without weft;
 *   - who is about to sleep because nobody can run moves it to the next deadline instead (sched_look.c);
 *   - while something outside is waited for - a call on an OS thread, another process, an OS thread - that takes
 *     the time it takes, so virtual time passes at the speed of the real one.  Who parks for such counts himself in
 *     the worker's `outside`.
 *
 * A clock belongs to one OS thread.  The others, the watchdog and the offload pool among them, keep the real one.
 * ../../../docs/design has the record and what was rejected.
 */
#ifndef WF_CLOCK_H
#define WF_CLOCK_H

#include "sched.h"

/* The calling OS thread ends, or Python does: it has the real clock again. */
void wf_clock_end(void);

/* Adds _clock_start and its kin to the module.  0, or -1 with an exception. */
int wf_clock_init(PyObject *module);

#endif
