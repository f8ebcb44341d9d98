/* cancel.h - from when on a green thread's parks are cancelled, and whom a cancellation reaches.
 *
 * Who may be cancelled?  A *scope* (weft.CancelScope): a block of code of one green thread, by a call or by its
 * deadline; and a green thread as a whole.  Both come down to one number in the fiber, cancel_at_ns: the
 * moment from which its parks end with WF_INTERRUPTED.  So a deadline needs no timer of its own (the
 * park's does), and code without scopes pays one load per park.
 *
 *     scope.cancel()     --+                              parks: ended, or not begun
 *     scope's deadline   --+--> cancel_at_ns -----------> a hooked call fails (interrupt.h)
 *     GreenThread.cancel --+                              between two bytecodes, after a time slice (preempt.c)
 *
 * Edge-triggered.  A cancellation is *delivered* once: all that is due and visible then is reached by the same one, and
 * is not looked at again; what follows, `finally:` say, may park.  Scopes outside a shielding one are not
 * visible from inside, and wait.
 *
 * Told and raised.  weft.Cancelled cannot be raised from inside a C library.  There the green thread is *told*: the call
 * fails, and CPython is left the exception, to be raised when bytecode is reached.  As long as that has not happened every
 * park that can be cancelled is.
 *
 * Invariants
 *   C1  All of this is guarded by the GIL, but cancel_at_ns and `told`, which the fiber's own parks read detached.
 *   C2  A scope is in its fiber's list from its entry to its exit; then, or at the end of the fiber's life, it is out.
 *   C3  cancel_at_ns is what wf_cancel_update last computed from the list.
 *
 * Rejected: level-triggered cancellation as Trio has it (every park fails until the scope is left): then
 * `finally: connection.rollback()` needs a shield to work at all, and code written for threads has none;
 * a timer for each scope (a cost at entry and exit, where the park has one anyway).
 */
#ifndef WF_CANCEL_H
#define WF_CANCEL_H

#include "fiber.h"

struct wf_scope {
    struct wf_scope *outer;
    struct wf_fiber *fiber; /* where it was entered; NULL: not yet */
    uint64_t serial;        /* of the fiber; 0: it has been left */
    int64_t deadline_ns;    /* or WF_NEVER */
    uint64_t entered;       /* how many deliveries there had been */
    uint64_t delivered;     /* which one reached it; 0: none */
    bool shield;            /* what is outside cannot be seen from inside */
    bool called;            /* it is cancelled */
    bool expired;           /* by its deadline */
};

extern PyObject *wf_cancelled; /* weft.Cancelled */

/* Makes that.  0, or -1 with an exception. */
int wf_cancel_init(void);

/* {=== With the GIL ===} */

/* Into and out of the list of the running fiber.  False when memory is short. */
bool wf_scope_enter(struct wf_scope *scope, struct wf_fiber *self);

/* Also for one that is not the innermost, or whose fiber is another's or over. */
void wf_scope_leave(struct wf_scope *scope);

/* Is it in some fiber's list? */
bool wf_scope_is_entered(const struct wf_scope *scope);

/* A cancellation has come out of `scope`, which `self` has just left: does it end here?  If not, what is due outside has
 * been reached by it too. */
bool wf_scope_absorbs(struct wf_scope *scope, struct wf_fiber *self);

/* Asks for the cancellation of `fiber` as a whole.  False when memory is short. */
bool wf_cancel_want(struct wf_fiber *fiber);

/* A scope of `fiber` has changed: computes cancel_at_ns. */
void wf_cancel_update(struct wf_fiber *fiber);

/* If a cancellation of the running fiber is due, delivers it: -1, with weft.Cancelled raised; else 0. */
int wf_cancel_raise(struct wf_fiber *self);

/* If the running fiber was told of a cancellation that has not been raised yet: it need not be any more.  True. */
bool wf_cancel_take(struct wf_fiber *self);

/* Delivers what is due at `now_ns`, of its worker's clock, and leaves it to CPython to raise it in the thread of `tstate`, the
 * fiber's.  The fiber is running, or waits for the GIL.  False: nothing is due. */
bool wf_cancel_tell(struct wf_fiber *fiber, PyThreadState *tstate, int64_t now_ns);

/* The life of `self` is over but for its destructors: nobody cancels those. */
void wf_cancel_end(struct wf_fiber *self);

/* {=== Attached or not ===} */

/* Is a cancellation of the running fiber due?  Changes errno. */
bool wf_cancel_is_due(struct wf_fiber *self);

/* The same, for who has no time: a false alarm is possible, of what will be due later. */
static inline bool wf_cancel_is_possible(struct wf_fiber *self)
{
    return wf_unlikely(atomic_load_explicit(&self->cancel_at_ns, memory_order_relaxed) != WF_NEVER);
}

#endif
