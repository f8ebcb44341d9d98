/* got.h - makes loaded objects call a hook where they meant to call libc.
 *
 * Two places decide which function a call through libc's name reaches:
 *   - the GOT slots of an object that is already bound;
 *   - the values in libc's own dynamic symbol table, from which ld.so computes every later
 *     binding (lazy slots, objects loaded later, dlsym, RTLD_DEEPBIND).
 * wf_got_install rewrites both.  Nothing in the environment changes, and wf_got_uninstall
 * puts every word back.  ../../docs/design has the record and what was rejected.
 *
 * Four classes of symbols:
 *   WF_HOOK_ALL      may be caught in every object, so it is also rewritten in libc;
 *   WF_HOOK_PYTHON   is caught only in the object that contains CPython (libpython, or
 *                    the executable of a static build): identity and thread creation;
 *   WF_HOOK_LIBRARY  is caught in every other object (extension modules and the C libraries they
 *                    use): the mutexes and condition variables, which in CPython guard the GIL;
 *   WF_HOOK_THREAD_LOCAL  is caught only in objects that would go wrong if the green threads of an OS
 *                    thread shared their thread-local variables (wf_got_keeps_thread_locals).
 *
 * Our own object is never patched, and is linked with -z now, so that no
 * slot of ours is bound late to a hook of ours.
 */
#ifndef WF_GOT_H
#define WF_GOT_H

#include <stdbool.h>
#include <stddef.h>

enum wf_hook_class { WF_HOOK_ALL, WF_HOOK_PYTHON, WF_HOOK_LIBRARY, WF_HOOK_THREAD_LOCAL };

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
    size_t unkept;  /* objects whose thread-local variables must be kept apart, and cannot be */
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

/* Catches what has been loaded or bound since.  Cheap when nothing was. */
void wf_got_rescan(void);

/* The same at any cost: waits until no other thread is loading anything, which a hook must not. */
void wf_got_rescan_fully(void);

/* Does the object of `address` need its thread-local variables kept apart for each green thread? */
bool wf_got_keeps_thread_locals(const void *address);

/* Restores every slot and symbol that still holds a hook of ours, in objects still loaded,
 * including slots that were bound late through libc's table. */
void wf_got_uninstall(void);

struct wf_got_report wf_got_report(void);

#endif
