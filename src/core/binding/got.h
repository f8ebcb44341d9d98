/* got.h - makes loaded objects call a hook where they meant to call libc.
 *
 * Two places decide which function a call through libc's name reaches:
 *   - the GOT slots of an object that is already bound;
 *   - the values in libc's own dynamic symbol table, from which ld.so computes every later
 *     binding (lazy slots, objects loaded later, dlsym, RTLD_DEEPBIND).
 * wf_got_install rewrites both.  Nothing in the environment changes, and wf_got_uninstall
 * puts every word back.  ../../docs/design has the record and what was rejected.
 *
 * Five classes of symbols:
 *   WF_HOOK_ALL      may be caught in every object, so it is also rewritten in libc;
 *   WF_HOOK_PYTHON   is caught only in the object that contains CPython (libpython, or
 *                    the executable of a static build): identity and thread creation;
 *   WF_HOOK_LIBRARY  is caught in every other object (extension modules and the C libraries they
 *                    use): the mutexes and condition variables, which in CPython guard the GIL;
 *   WF_HOOK_THREAD_LOCAL  is caught in objects whose policy is OWN_THREAD_LOCALS: ld.so's function by
 *                    which they find their thread-local variables;
 *   WF_HOOK_OFFLOAD  is caught in objects whose policy is OFFLOAD: CPython's function by which they let go of
 *                    the GIL.
 *
 * An object may have a policy of its own (policy.h): slots of an excluded one hold the real
 * functions, those of a "release-only" one hold thunks, which ask before each call.
 *
 * Our own object is never patched, and is linked with -z now, so that no
 * slot of ours is bound late to a hook of ours.
 */
#ifndef WF_GOT_H
#define WF_GOT_H

#include "policy.h"

#include <stdbool.h>
#include <stddef.h>

#define WF_GOT_MOST_HOOKS 256

enum wf_hook_class { WF_HOOK_ALL, WF_HOOK_PYTHON, WF_HOOK_LIBRARY, WF_HOOK_THREAD_LOCAL, WF_HOOK_OFFLOAD };

struct wf_hook {
    const char *name;         /* the symbol, without version */
    void *hook;               /* what callers shall reach */
    void **real;              /* where to store what they reached before (found with dlsym) */
    enum wf_hook_class class;
};

struct wf_got_report {
    size_t objects; /* objects in which at least one slot is ours */
    size_t slots;   /* GOT slots that are ours */
    size_t symbols; /* entries of libc's symbol table that are ours */
    const char *unkept; /* an object that shall have OWN_THREAD_LOCALS and cannot; NULL: none */
};

/* Fills every *real once, without hooking anything.  Hooks whose symbol this libc
 * does not have get NULL and are never installed. */
void wf_got_resolve(const struct wf_hook *hooks, size_t count);

/* Installs all hooks of the table in every object loaded now and in libc's symbol table.
 * `python` is the address of any CPython function.  The table must stay alive.
 * 0, or -1 with *error set to a static message; then nothing is hooked.
 * Installing twice is an error of the caller. */
int wf_got_install(const struct wf_hook *hooks, size_t count, const void *python,
                   const char **error);

/* The table has grown to `count` hooks: installs the new ones as well.  0, or -1 with *error set; then they are not. */
int wf_got_extend(size_t count, const char **error);

/* Catches what has been loaded or bound since.  Cheap when nothing was.  From any OS thread, with
 * or without the GIL; waits while another is inside dlopen, as dlsym does. */
void wf_got_rescan(void);

/* Makes a rule (policy.h) and applies it to what is loaded.  0, or -1 with *error set. */
int wf_got_set_policy(const char *pattern, enum wf_policy policy, const char **error);

/* Restores every slot and symbol that still holds a hook of ours, in objects still loaded,
 * including slots that were bound late through libc's table. */
void wf_got_uninstall(void);

struct wf_got_report wf_got_report(void);

/* A loaded object, as wf_got_describe sees it. */
struct wf_got_object {
    const char *path;
    const char *exempt;    /* why it is left alone; NULL: it is not */
    enum wf_policy policy;
    size_t slots;          /* that lead to a hook */
    bool hooked[WF_GOT_MOST_HOOKS]; /* does one lead to the hook of this index in the table? */
};

/* Calls tell(object, arg) for each.  ld.so is locked meanwhile: no dlsym, and no Python. */
void wf_got_describe(void (*tell)(const struct wf_got_object *object, void *arg), void *arg);

/* Not ours, but our caller's: does the calling thread hold the GIL? */
bool wf_got_gil_is_held(void);

/* fork: nobody may be in the middle of a walk when memory is copied. */
void wf_got_before_fork(void);
void wf_got_after_fork(void); /* in parent and child */

#endif
