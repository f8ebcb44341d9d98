/* cancel.c - scopes, and what is due in them; cancel.h has the idea. */
#include "cancel.h"

#include "tstate.h"
#include "tstate_async.h"

PyObject *wf_cancelled;

static uint64_t deliveries; /* in all threads, so far */
static atomic_uint tellings;

PyDoc_STRVAR(cancelled_doc,
"Raised in a green thread that is cancelled: in whatever it waits for, or between two bytecodes.\n\n"
"A BaseException, so that `except Exception` lets it pass; who catches it should raise it again.\n"
"It is raised once for each cancellation: in `finally` one can wait again.");

int wf_cancel_init(void)
{
    if (wf_cancelled == NULL)
        wf_cancelled = PyErr_NewExceptionWithDoc("weft.Cancelled", cancelled_doc, PyExc_BaseException, NULL);
    return wf_cancelled == NULL ? -1 : 0;
}

/* {=== What is due ===} */

/* From when on a scope that has not been reached is cancelled; 0: it is. */
static int64_t scope_due_ns(const struct wf_scope *scope)
{
    return scope->called ? 0 : scope->deadline_ns;
}

static int64_t due_ns(struct wf_fiber *fiber)
{
    const struct wf_belongings *own = wf_fiber_has(fiber);
    int64_t first_ns = WF_NEVER;

    if (own == NULL || own->hidden)
        return WF_NEVER;
    if (own->told > 0)
        return 0;
    for (const struct wf_scope *scope = own->scopes; scope != NULL; scope = scope->outer) {
        if (scope->delivered == 0 && scope_due_ns(scope) < first_ns)
            first_ns = scope_due_ns(scope);
        if (scope->shield)
            return first_ns;
    }
    return own->cancel_wanted ? 0 : first_ns;
}

void wf_cancel_update(struct wf_fiber *fiber)
{
    atomic_store(&fiber->cancel_at_ns, due_ns(fiber));
}

/* True if it is reached now. */
static bool reach(struct wf_scope *scope, int64_t now_ns)
{
    if (scope->delivered != 0 || scope_due_ns(scope) > now_ns)
        return false;
    scope->expired = !scope->called;
    scope->called = true;
    scope->delivered = deliveries + 1;
    return true;
}

/* All that is due and visible is reached by the same delivery.  False: nothing is. */
static bool deliver(struct wf_belongings *own, int64_t now_ns)
{
    bool any = false, shielded = false;

    for (struct wf_scope *scope = own->scopes; scope != NULL && !shielded; scope = scope->outer) {
        any |= reach(scope, now_ns);
        shielded = scope->shield;
    }
    if (!shielded && own->cancel_wanted) {
        own->cancel_wanted = false;
        own->cancelled = deliveries + 1;
        any = true;
    }
    deliveries += any;
    return any;
}

/* {=== Telling and raising ===} */

unsigned wf_cancel_tellings(void)
{
    return tellings;
}

static void untell(struct wf_belongings *own)
{
    wf_assert(own->told > 0 && tellings > 0, "nobody has told the fiber of a cancellation");
    own->told = 0;
    tellings--;
}

/* CPython may have raised meanwhile what the fiber was told of.  True if so. */
static bool was_raised(const struct wf_belongings *own, const PyThreadState *tstate)
{
    return own->told > 0 && !own->hidden && (tstate == NULL || !wf_tstate_has_async(tstate, wf_cancelled));
}

/* Attached. */
static void see_whether_raised(struct wf_fiber *fiber, const PyThreadState *tstate)
{
    struct wf_belongings *own = wf_fiber_has(fiber);

    if (was_raised(own, tstate)) {
        untell(own);
        wf_cancel_update(fiber);
    }
}

bool wf_cancel_is_due(struct wf_fiber *self)
{
    PyThreadState *tstate = wf_tstate_bound();
    bool attached;

    if (!wf_cancel_is_possible(self))
        return false;
    if (wf_unlikely(was_raised(wf_fiber_has(self), tstate))) {
        attached = wf_tstate_attached(tstate);
        if (!attached)
            wf_tstate_attach(tstate);
        see_whether_raised(self, tstate);
        if (!attached)
            wf_tstate_detach(tstate);
    }
    return atomic_load(&self->cancel_at_ns) <= wf_now_ns();
}

bool wf_cancel_take(struct wf_fiber *self)
{
    struct wf_belongings *own = wf_fiber_has(self);

    if (own == NULL || own->told == 0 || own->hidden)
        return false;
    see_whether_raised(self, PyThreadState_Get());
    if (own->told == 0)
        return false;
    untell(own);
    wf_tstate_set_async(PyThreadState_Get(), NULL);
    wf_cancel_update(self);
    return true;
}

int wf_cancel_raise(struct wf_fiber *self)
{
    if (!wf_cancel_is_due(self))
        return 0;
    if (!wf_cancel_take(self)) {
        struct wf_belongings *own = wf_fiber_has(self);
        bool any;
        wf_assert(own != NULL, "something is due that is nowhere noted (C3)");
        any = deliver(own, wf_now_ns());
        wf_cancel_update(self);
        if (!any)
            return 0;
    }
    PyErr_SetNone(wf_cancelled);
    return -1;
}

bool wf_cancel_tell(struct wf_fiber *fiber, PyThreadState *tstate, int64_t now_ns)
{
    struct wf_belongings *own = wf_fiber_has(fiber);

    if (own == NULL || own->hidden)
        return false;
    see_whether_raised(fiber, tstate);
    if (own->told == 0 && !deliver(own, now_ns))
        return false;
    own->told_in_c = false;
    tellings += own->told == 0;
    own->told += own->told < UINT8_MAX;
    atomic_store(&fiber->cancel_at_ns, 0);
    wf_tstate_set_async(tstate, wf_cancelled);
    return true;
}

bool wf_cancel_want(struct wf_fiber *fiber)
{
    struct wf_belongings *own = wf_fiber_belongings(fiber);

    if (own == NULL)
        return false;
    own->cancel_wanted = true;
    wf_cancel_update(fiber);
    return true;
}

void wf_cancel_end(struct wf_fiber *self)
{
    struct wf_belongings *own = wf_fiber_has(self);

    if (own == NULL)
        return;
    wf_cancel_take(self);
    own->cancel_wanted = false;
    wf_cancel_update(self);
}

void wf_cancel_forget(struct wf_fiber *self)
{
    struct wf_belongings *own = wf_fiber_has(self);

    if (own != NULL && own->told > 0)
        untell(own);
}

void wf_cancel_after_fork_child(struct wf_fiber *survivor)
{
    const struct wf_belongings *own = wf_fiber_has(survivor);

    tellings = own != NULL && own->told > 0;
}

/* {=== Scopes ===} */

bool wf_scope_enter(struct wf_scope *scope, struct wf_fiber *self)
{
    struct wf_belongings *own = wf_fiber_belongings(self);

    if (own == NULL)
        return false;
    wf_assert(scope->serial == 0, "a scope is in one list only, once (C2)");
    scope->fiber = self;
    scope->serial = self->serial;
    scope->entered = deliveries;
    scope->outer = own->scopes;
    own->scopes = scope;
    wf_cancel_update(self);
    return true;
}

bool wf_scope_is_entered(const struct wf_scope *scope)
{
    return scope->serial != 0 && scope->fiber->serial == scope->serial;
}

void wf_scope_leave(struct wf_scope *scope)
{
    struct wf_scope **link;

    if (wf_scope_is_entered(scope)) {
        link = &wf_fiber_has(scope->fiber)->scopes;
        for (; *link != scope; link = &(*link)->outer)
            wf_assert(*link != NULL, "an entered scope is not in its fiber's list (C2)");
        *link = scope->outer;
        wf_cancel_update(scope->fiber);
    }
    scope->serial = 0;
}

/* Does the cancellation that has come out of `scope` belong to something outside it, which was reached since it was entered
 * or is due now?  Only what can be seen from there counts. */
static bool belongs_outside(const struct wf_scope *scope, const struct wf_belongings *own)
{
    if (scope->shield)
        return false;
    for (const struct wf_scope *outer = scope->outer; outer != NULL; outer = outer->outer) {
        if (outer->delivered > scope->entered)
            return true;
        if (outer->shield)
            return false;
    }
    return own->cancelled > scope->entered;
}

bool wf_scope_absorbs(struct wf_scope *scope, struct wf_fiber *self)
{
    struct wf_belongings *own = wf_fiber_has(self);

    wf_assert(!wf_scope_is_entered(scope), "a cancellation comes out of a scope that was not left");
    if (scope->delivered == 0 && !reach(scope, wf_now_ns()))
        return false;
    if (!scope->shield && deliver(own, wf_now_ns()))
        wf_cancel_update(self);
    return !belongs_outside(scope, own);
}
