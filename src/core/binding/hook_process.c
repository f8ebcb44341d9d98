/* hook_process.c - vfork: a child that is us and is not.
 *
 * The child of a vfork runs on our stack, in our memory, with our thread-local storage, until it execs.  What it does to
 * descriptors it does to its own: were its closes ours to see, the green threads that wait for these descriptors
 * would be told they are closed.  And it must never park: it would switch the parent's stacks.  So while it
 * lives, all hooks pass straight through on this OS thread (whose parent half is suspended).
 *
 * A fork's child has its own copy of everything, and is seen to by pthread_atfork (module.c).  posix_spawn
 * makes its child inside libc, where no hook is met.
 */
#include "hook.h"

#include <sys/types.h>

pid_t (*wf_real_vfork)(void) __attribute__((visibility("hidden")));
#define real_vfork wf_real_vfork

pid_t hook_vfork(void);

/* Both are called by hook_vfork. */
void wf_vfork_enter(void *return_address) __attribute__((visibility("hidden")));
void *wf_vfork_leave(pid_t result) __attribute__((visibility("hidden")));

static __thread void *returns_to;

void wf_vfork_enter(void *return_address)
{
    returns_to = return_address;
    if (wf_this_worker != NULL)
        wf_this_worker->passing++;
}

/* In the child (result 0) nothing changes: it is the parent who takes back what he did. */
void *wf_vfork_leave(pid_t result)
{
    if (result != 0 && wf_this_worker != NULL)
        wf_this_worker->passing--;
    return returns_to;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(vfork, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(process);
