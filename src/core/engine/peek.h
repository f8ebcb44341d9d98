/* peek.h - reads memory that may not be there.
 *
 * For who looks at what somebody else is using at that moment: a word that was a pointer may no longer
 * be one.  The kernel copies, and says how far it got, where a load would be a crash.
 */
#ifndef WF_PEEK_H
#define WF_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Copies up to `size` bytes; how many could be.  Async-signal-safe. */
static inline size_t wf_peek_some(void *to, const void *from, size_t size)
{
    struct iovec local = {to, size}, remote = {(void *)from, size};
    ssize_t copied = syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0);

    return copied > 0 ? (size_t)copied : 0;
}

/* All of it, or false. */
static inline bool wf_peek(void *to, const void *from, size_t size)
{
    return wf_peek_some(to, from, size) == size;
}

#endif
