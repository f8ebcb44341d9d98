/* datastack.h - lends the data stack in a vessel's home page to thread states that CPython makes.
 *
 * A thread that CPython starts allocates 16 KiB for its Python frames with an mmap, through the public
 * arena allocator (PyObject_SetArenaAllocator).  For a green thread there is room already, in the page its C stack
 * has touched anyway: we hand that out instead, and take it back when it is freed.
 */
#ifndef WF_DATASTACK_H
#define WF_DATASTACK_H

/* From now on.  Once per process; never undone, because what was lent must come back to us. */
void wf_datastack_lend(void);

#endif
