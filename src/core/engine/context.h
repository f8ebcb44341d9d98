/* context.h - where a suspended computation stands, and the switch between two.
 *
 * A context is one stack pointer: everything else that must survive a switch
 * lies on the stack below it (context_x86_64.S draws the frame byte by byte).
 *
 * Saved: the registers the ABI lets a callee keep, and the two floating-point
 * control words (a library may run with its own rounding).  Not saved: the
 * signal mask, thread-local storage and errno.  They belong to the OS thread;
 * whoever parks across a libc call keeps errno himself.
 *
 * Adding a processor: one context_<cpu>.S with these two functions.  Windows' has a third.
 */
#ifndef WF_CONTEXT_H
#define WF_CONTEXT_H

struct wf_context {
    void *sp; /* valid only while the computation is suspended */
};

/* Prepares `c` so that the first switch to it calls entry(arg) on the stack
 * that ends (exclusively) at `top`; `top` must be 16-byte aligned.  `entry` must never
 * return.  An unwinder that walks out of `entry` finds the end of the stack. */
void wf_context_init(struct wf_context *c, void *top, void (*entry)(void *), void *arg);

/* Suspends the running computation into `from` and resumes `to`.  Returns when
 * somebody switches back to `from`. */
void wf_context_switch(struct wf_context *from, const struct wf_context *to);

#ifdef _WIN32
/* Tells a prepared `c` that has not run where its stack begins (a multiple of the page size): the
 * system is shown both ends of a running stack, and assumes the worst if it does not know one. */
void wf_context_set_lo(struct wf_context *c, void *lo);
#endif

#endif
