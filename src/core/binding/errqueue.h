/* errqueue.h - an OpenSSL error queue for each green thread; errqueue.c has the idea. */
#ifndef WF_ERRQUEUE_H
#define WF_ERRQUEUE_H

#include "fiber.h"

/* Looks for copies of libcrypto that were loaded, and hooked, since.  Cheap when nothing was; from any OS thread. */
void wf_errqueue_look(void);

/* The running fiber is about to end: what it left on its queues goes, and the queues are for others. */
void wf_errqueue_end(struct wf_fiber *fiber);

/* In the child of a fork. */
void wf_errqueue_after_fork(void);

#endif
