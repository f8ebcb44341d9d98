/* bystander.h - OS threads of which it is certain that they wait for one of our locks.
 *
 * Where all green threads are parked for good, another OS thread is the last hope: it may be about to wake one.  Unless
 * it is waiting for a semaphore itself, with no time limit, as an idle worker of a pool does, or who joins a thread.  Such a
 * *bystander* wakes nobody before somebody has woken it.
 *
 * It is noted before it waits, and believed only when looked at: the semaphore is at zero, and /proc says that the OS thread
 * sleeps in the kernel at that very address.  So one that has been woken, but has not run yet, is none.
 */
#ifndef WF_BYSTANDER_H
#define WF_BYSTANDER_H

#include <Python.h>
#include <semaphore.h>

/* Waits as `wait` does, noted. */
int wf_bystand(sem_t *sem, int (*wait)(sem_t *));

/* How many OS threads certainly wait. */
size_t wf_bystanders(void);

/* For Python: [(native id, address of the semaphore)], of 256 at most.  With the GIL. */
PyObject *wf_bystander_list(void);

void wf_bystander_before_fork(void);
void wf_bystander_after_fork_parent(void);
void wf_bystander_after_fork_child(void);

#endif
