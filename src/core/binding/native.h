/* native.h - which native function an OS thread is in, asked by another OS thread.
 *
 * A profiler's question, asked once in a while, so nothing of it may cost or disturb anybody until then:
 *
 *   a thread that sleeps in the kernel    /proc says where, and the thread notices nothing
 *   a thread that runs                    a signal to it alone; the handler notes the registers and some stack
 *
 * A signal can end a system call of a C library early (EINTR), and not every library expects that.
 * Hence the two cases: who sleeps is sent none, and who runs is in no call that could end.  Between the asking
 * and the sending it may enter one; then SA_RESTART saves most.
 *
 * Where it is, the program counter says.  If that is in libc (memcpy, futex), or in a function without a name,
 * we want the caller: the first word on the stack that is a return address into a function that
 * has one.  A frame's unused words may hold stale ones: it is a hint for people, not a backtrace.
 *
 * Rejected: backtrace() in the handler (before glibc 2.35 it takes ld.so's lock, which somebody may hold who waits for
 *           us); a signal in any case.
 */
#ifndef WF_NATIVE_H
#define WF_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Chooses a real-time signal that nobody uses, once.  False: there is none, and running threads stay unseen. */
bool wf_native_init(void);

/* Writes "function (file)", or "(file)", to `text`; an empty string if nothing can be said.  Waits a few
 * milliseconds at most.  Takes ld.so's lock: not with the GIL. */
void wf_native_where(pid_t tid, char *text, size_t size);

#endif
