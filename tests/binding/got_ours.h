/* got_ours.h - what test_got.c asks of the object that does the hooking.
 *
 * got.c must live in a shared object of its own, as it does in the product, so the test
 * loads one with dlopen and reaches it through this one exported structure.
 */
#ifndef GOT_OURS_H
#define GOT_OURS_H

#include "got.h"

struct got_ours {
    const struct wf_hook *hooks;
    size_t count;
    void (*resolve)(const struct wf_hook *hooks, size_t count);
    int (*install)(const struct wf_hook *hooks, size_t count, const void *python,
                   const char **error);
    void (*rescan)(void);
    void (*uninstall)(void);
    struct wf_got_report (*report)(void);
    int (*set_policy)(const char *pattern, enum wf_policy policy, const char **error);
    void (*describe)(void (*tell)(const struct wf_got_object *object, void *arg), void *arg);
    int (*call_getppid)(void); /* without the detour through the hook */

    long (*calls_here)(void);  /* how often the calling thread has reached any hook */

    long *calls;     /* how often any hook was reached */
    int *reallocs;   /* how many more realloc may succeed; negative: all */
    int *mprotects;  /* the same for mprotect */
    bool *gil_held;  /* by the caller of a hook */
};

#endif
