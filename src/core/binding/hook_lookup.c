/* hook_lookup.c - dlsym and dlvsym, the way into a library that has just been loaded.
 *
 * A library loaded after install is bound to the hooks of class ALL by libc's symbol table.  Those
 * of class LIBRARY, and what a policy wants otherwise, must be written into its slots, before
 * any of its code runs.  Whoever loads a library looks up its functions before he calls
 * them: CPython PyInit_..., ctypes each function, plug-in hosts their entry point.  So that is when we look.
 *
 * It is also the moment at which we may wait for ld.so.  A library that another OS thread is still
 * loading must be waited for (got.c says why), and who calls dlsym is about to do that anyway,
 * whatever locks he holds, the GIL included.
 *
 * The lookup itself is ld.so's: the hooks are in assembly, lookup_<cpu>.S.
 */
#include "hook.h"

#include "errqueue.h"

#include <errno.h>

void *(*wf_real_dlsym)(void *, const char *) __attribute__((visibility("hidden")));
void *(*wf_real_dlvsym)(void *, const char *, const char *) __attribute__((visibility("hidden")));
#define real_dlsym wf_real_dlsym
#define real_dlvsym wf_real_dlvsym

void *hook_dlsym(void *, const char *);
void *hook_dlvsym(void *, const char *, const char *);

/* Called by both. */
void wf_lookup_enter(void) __attribute__((visibility("hidden")));

void wf_lookup_enter(void)
{
    struct wf_worker *worker = wf_this_worker;
    int error = errno;

    if (worker != NULL)
        worker->passing++; /* somebody's malloc may lock: it must not park with our locks held */
    wf_got_rescan();
    wf_errqueue_look();
    if (worker != NULL)
        worker->passing--;
    errno = error;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(dlsym, WF_HOOK_ALL),
    WF_HOOK(dlvsym, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(lookup);
