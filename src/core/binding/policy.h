/* policy.h - what becomes of a blocking call, by the object that makes it.
 *
 * Most libraries neither know nor care that a green thread was parked inside them.  A few do:
 *
 *   PARK           the call parks the green thread.  The rule.
 *   RELEASE_ONLY   it parks only if the caller has released the GIL.  For an object that blocks with
 *                  the GIL held and relies on nobody else running meanwhile.
 *   EXCLUDE        it blocks the OS thread, as it would without weft.  For an object that keeps the
 *                  identity of its threads in thread-local storage, where all green threads
 *                  of an OS thread look like one (abseil, inside grpc's `cygrpc`, aborts over it).
 *
 *   OWN_THREAD_LOCALS  it parks, and each green thread has thread-local variables of its own in the
 *                  object (thread_local.h).  For one that remembers in them what it was doing in
 *                  this thread, as greenlet does, and finds them by __tls_get_addr, as libraries
 *                  that are loaded at run time do.  To be set before green threads call it.
 *
 *   OFFLOAD        it parks, and what the object computes with the GIL released, another OS thread goes on with
 *                  while the green thread is parked (carry.h).  For one that computes for long, and
 *                  keeps nothing in thread-local storage across that.
 *
 * A rule gives a policy to all objects whose file name matches a pattern; of several that match,
 * the one made last counts.  got.c asks, whenever it meets an object, and holds the lock
 * that guards the rules.
 */
#ifndef WF_POLICY_H
#define WF_POLICY_H

#include <stdbool.h>

enum wf_policy { WF_POLICY_PARK, WF_POLICY_RELEASE_ONLY, WF_POLICY_EXCLUDE, WF_POLICY_OWN_THREAD_LOCALS,
                 WF_POLICY_OFFLOAD };

/* The policy for the object in the file `path`. */
enum wf_policy wf_policy_of(const char *path);

/* Makes a rule, or changes the one with the same pattern: a file name without its folder, in which * stands for
 * any text and ? for any character.  False when memory is short. */
bool wf_policy_set(const char *pattern, enum wf_policy policy);

/* Its name: "park", "release-only", "exclude", "own-thread-locals", "offload". */
const char *wf_policy_text(enum wf_policy policy);

/* The policy of that name; false if there is none. */
bool wf_policy_from_text(const char *text, enum wf_policy *policy);

#endif
