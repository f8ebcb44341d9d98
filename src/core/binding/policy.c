/* policy.c - the rules and how a name is matched; policy.h has the idea.
 *
 * The match is our own and not fnmatch, which may load a character set: it is asked for while
 * ld.so's lock is held.
 */
#include "policy.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    struct rule *older;
    const char *pattern;
    enum wf_policy policy;
};

/* Rules are never freed, so there are as many as different patterns. */
static struct rule grpc = {NULL, "cygrpc*", WF_POLICY_EXCLUDE};
/* Allocators are called in the middle of anything, ours included: a mutex of theirs must not let go of the GIL. */
static struct rule jemalloc = {&grpc, "libjemalloc*", WF_POLICY_EXCLUDE};
static struct rule tcmalloc = {&jemalloc, "libtcmalloc*", WF_POLICY_EXCLUDE};
static struct rule mimalloc = {&tcmalloc, "libmimalloc*", WF_POLICY_EXCLUDE};
static struct rule *newest = &mimalloc;

/* This one stands above all rules: without it the process would crash. */
static const struct rule greenlet = {NULL, "_greenlet.*", WF_POLICY_OWN_THREAD_LOCALS};

static bool matches(const char *pattern, const char *name)
{
    for (; *pattern != '*'; pattern++, name++) {
        if (*pattern == '\0' || *name == '\0')
            return *pattern == *name;
        if (*pattern != '?' && *pattern != *name)
            return false;
    }
    for (; *name != '\0'; name++)
        if (matches(pattern + 1, name))
            return true;
    return matches(pattern + 1, name); /* nothing left: for what may match nothing */
}

enum wf_policy wf_policy_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    if (matches(greenlet.pattern, name))
        return greenlet.policy;
    for (const struct rule *rule = newest; rule != NULL; rule = rule->older)
        if (matches(rule->pattern, name))
            return rule->policy;
    return WF_POLICY_PARK;
}

static struct rule *take_out(const char *pattern)
{
    for (struct rule **link = &newest; *link != NULL; link = &(*link)->older)
        if (strcmp((*link)->pattern, pattern) == 0) {
            struct rule *rule = *link;
            *link = rule->older;
            return rule;
        }
    return NULL;
}

static struct rule *make(const char *pattern)
{
    struct rule *rule = malloc(sizeof *rule);
    char *copy = strdup(pattern);

    if (rule == NULL || copy == NULL) {
        free(copy);
        free(rule);
        return NULL;
    }
    rule->pattern = copy;
    return rule;
}

bool wf_policy_set(const char *pattern, enum wf_policy policy)
{
    struct rule *rule = take_out(pattern);

    if (rule == NULL && (rule = make(pattern)) == NULL)
        return false;
    rule->policy = policy;
    rule->older = newest;
    newest = rule;
    return true;
}

static const char *const texts[] = {
    [WF_POLICY_PARK] = "park",
    [WF_POLICY_RELEASE_ONLY] = "release-only",
    [WF_POLICY_EXCLUDE] = "exclude",
    [WF_POLICY_OWN_THREAD_LOCALS] = "own-thread-locals",
    [WF_POLICY_OFFLOAD] = "offload",
};

const char *wf_policy_text(enum wf_policy policy)
{
    return texts[policy];
}

bool wf_policy_from_text(const char *text, enum wf_policy *policy)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i], text) == 0) {
            *policy = (enum wf_policy)i;
            return true;
        }
    return false;
}
