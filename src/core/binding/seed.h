/* seed.h - every choice of the scheduler, and every preemption, as a function of one number.
 *
 * A race shows itself only when threads are switched at the wrong moment, and nobody chooses that moment.  Here a
 * seed does: it decides which of the runnable green threads is next, and after how many *points* the running one gives
 * way.  A point is a place where CPython itself could switch threads: the beginning of a function, the return of a
 * C function to Python, a jump backwards.  So whatever is found could happen to OS threads; and as nothing else
 * preempts while a seed is in force, the same seed does the same again.
 *
 * Points are found by a profile function (calls and returns) and a trace function (jumps), which every green thread has
 * in its thread state.  A program's own have precedence: then there are no points of that kind in that thread.
 *
 * How many points lie between two preemptions is drawn anew each time, few as likely as many (evenly on a logarithmic
 * scale): a race needs one green thread to be stopped at the right place, and then another to get far.  How many
 * are the most is the *temper* of a seed, the first thing drawn from it: small programs and large ones differ.
 *
 * What a program does before it has a second thread is not counted, nor what some modules do within themselves: the
 * import system, since the same seed shall mean the same whether or not modules were imported, or compiled, before;
 * and threading, whose points are many and would drown the program's own.
 */
#ifndef WF_SEED_H
#define WF_SEED_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

struct wf_worker;

struct wf_seed {
    bool on;
    uint64_t state;         /* of the generator */
    uint32_t temper;
    uint32_t countdown;     /* points until the next preemption */
    uint32_t passed;        /* points so far; it wraps */
    const void *frame;      /* where the last line was: its frame, not to be followed, and the instruction */
    int instruction;
};

/* A number below `count`, which is not 0. */
size_t wf_seed_choose(struct wf_seed *seed, size_t count);

/* The calling thread, whose worker has a seed, begins: it has points from now on. */
void wf_seed_enter(void);

/* Adds _seed_start and its kin to the module.  0, or -1 with an exception. */
int wf_seed_init(PyObject *module);

#endif
