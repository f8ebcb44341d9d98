/* thread_local.h - thread-local variables of chosen libraries, a set for each green thread.
 *
 * C and C++ keep `thread_local` variables per OS thread, so all green threads of an OS thread see
 * the same ones.  Most libraries do not mind.  greenlet does: its variables say on whose C stack it
 * is, and it copies slices of that stack.  So for objects like that (got.h says which) a green
 * thread gets a block of variables of its own, made when they are first asked for; the root goes
 * on using those of its OS thread.
 *
 * A variable is found by the object's number among those that have any (its *TLS module*) and an offset,
 * both of which the compiler hands to __tls_get_addr.
 */
#ifndef WF_THREAD_LOCAL_H
#define WF_THREAD_LOCAL_H

#include <stdbool.h>
#include <stddef.h>

struct wf_fiber;

/* The address of a variable of `fiber`, which is running.  Constant for the fiber's life. */
void *wf_thread_local_address(struct wf_fiber *fiber, size_t module, size_t offset);

/* If `object` is one of its variables, notes that destructor(object) is to be called at its end; false if not. */
bool wf_thread_local_at_end(struct wf_fiber *fiber, void (*destructor)(void *), void *object);

/* The running fiber's code is over: calls the destructors, last noted first, and frees its variables. */
void wf_thread_locals_end(struct wf_fiber *fiber);

#endif
