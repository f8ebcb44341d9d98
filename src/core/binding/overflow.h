/* overflow.h - a green thread that runs out of stack ends in a message, not in a bare crash.
 *
 * The guard page below each stack turns an overflow into SIGSEGV.  Our handler runs on an alternate signal
 * stack (the green thread's own is full), says which green thread it was, how deep, where, and what to
 * do (emergency.h), and lets the signal take its course, so that the exit status is as ever.  Any other SIGSEGV goes
 * to whoever handled it before (faulthandler, say).  Turning the fault into an exception would not be
 * safe: C code is in the middle of something.
 */
#ifndef WF_OVERFLOW_H
#define WF_OVERFLOW_H

/* Watches the calling OS thread; the handler is installed once per process. */
void wf_overflow_watch(void);

#endif
