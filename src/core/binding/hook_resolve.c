/* hook_resolve.c - names to addresses and back, on an OS thread.
 *
 * The resolver waits inside libc, where no hook reaches, so the whole call is offloaded.  Two of its habits
 * would get lost on the way: h_errno belongs to the OS thread, so it is carried back; and gethostbyname
 * answers in memory that is one for all, as it always did.
 *
 * The res_query family is left alone: its state (_res) belongs to the OS thread and cannot be carried.
 */
#include "hook.h"
#include "offload.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>

static int (*real_getaddrinfo)(const char *, const char *, const struct addrinfo *,
                               struct addrinfo **);
static int (*real_getnameinfo)(const struct sockaddr *, socklen_t, char *, socklen_t, char *,
                               socklen_t, int);
static int (*real_gethostbyname_r)(const char *, struct hostent *, char *, size_t,
                                   struct hostent **, int *);
static int (*real_gethostbyname2_r)(const char *, int, struct hostent *, char *, size_t,
                                    struct hostent **, int *);
static int (*real_gethostbyaddr_r)(const void *, socklen_t, int, struct hostent *, char *, size_t,
                                   struct hostent **, int *);
static struct hostent *(*real_gethostbyname)(const char *);
static struct hostent *(*real_gethostbyname2)(const char *, int);
static struct hostent *(*real_gethostbyaddr)(const void *, socklen_t, int);

/* {=== getaddrinfo and getnameinfo ===} */

/* An address in digits needs no waiting, and no OS thread. */
static bool is_numeric(const struct addrinfo *hints)
{
    return hints != NULL && (hints->ai_flags & AI_NUMERICHOST);
}

static int hook_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **list)
{
    struct wf_worker *worker = wf_hook_worker();
    struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST};
    int result;

    if (worker == NULL || node == NULL || is_numeric(hints))
        return real_getaddrinfo(node, service, hints, list);
    if (hints != NULL)
        numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    result = real_getaddrinfo(node, service, &numeric, list);
    if (result != EAI_NONAME)
        return result;
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_getaddrinfo, (long)node, (long)service,
                           (long)hints, (long)list);
}

static int hook_getnameinfo(const struct sockaddr *addr, socklen_t addr_len, char *host,
                            socklen_t host_len, char *service, socklen_t service_len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & NI_NUMERICHOST))
        return real_getnameinfo(addr, addr_len, host, host_len, service, service_len, flags);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_getnameinfo, (long)addr, addr_len,
                           (long)host, host_len, (long)service, service_len, flags);
}

/* {=== gethostby..._r: the caller brings the memory ===} */

static int hook_gethostbyname_r(const char *name, struct hostent *entry, char *buf, size_t buf_len,
                                struct hostent **found, int *host_error)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_gethostbyname_r(name, entry, buf, buf_len, found, host_error);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_gethostbyname_r, (long)name, (long)entry,
                           (long)buf, (long)buf_len, (long)found, (long)host_error);
}

static int hook_gethostbyname2_r(const char *name, int family, struct hostent *entry, char *buf,
                                 size_t buf_len, struct hostent **found, int *host_error)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_gethostbyname2_r(name, family, entry, buf, buf_len, found, host_error);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_gethostbyname2_r, (long)name, family,
                           (long)entry, (long)buf, (long)buf_len, (long)found, (long)host_error);
}

static int hook_gethostbyaddr_r(const void *addr, socklen_t len, int family, struct hostent *entry,
                                char *buf, size_t buf_len, struct hostent **found, int *host_error)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_gethostbyaddr_r(addr, len, family, entry, buf, buf_len, found, host_error);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_gethostbyaddr_r, (long)addr, len, family,
                           (long)entry, (long)buf, (long)buf_len, (long)found, (long)host_error);
}

/* {=== The same without _r: memory of libc's own, and h_errno ===} */

static struct hostent *name_run(const char *name, int *host_error)
{
    struct hostent *entry = real_gethostbyname(name);

    *host_error = h_errno;
    return entry;
}

static struct hostent *hook_gethostbyname(const char *name)
{
    struct wf_worker *worker = wf_hook_worker();
    struct hostent *entry;
    int host_error;

    if (worker == NULL)
        return real_gethostbyname(name);
    entry = (struct hostent *)wf_offload(worker, WF_OFFLOAD_WORK, name_run, (long)name,
                                         (long)&host_error);
    h_errno = host_error;
    return entry;
}

static struct hostent *name2_run(const char *name, int family, int *host_error)
{
    struct hostent *entry = real_gethostbyname2(name, family);

    *host_error = h_errno;
    return entry;
}

static struct hostent *hook_gethostbyname2(const char *name, int family)
{
    struct wf_worker *worker = wf_hook_worker();
    struct hostent *entry;
    int host_error;

    if (worker == NULL)
        return real_gethostbyname2(name, family);
    entry = (struct hostent *)wf_offload(worker, WF_OFFLOAD_WORK, name2_run, (long)name, family,
                                         (long)&host_error);
    h_errno = host_error;
    return entry;
}

static struct hostent *addr_run(const void *addr, socklen_t len, int family, int *host_error)
{
    struct hostent *entry = real_gethostbyaddr(addr, len, family);

    *host_error = h_errno;
    return entry;
}

static struct hostent *hook_gethostbyaddr(const void *addr, socklen_t len, int family)
{
    struct wf_worker *worker = wf_hook_worker();
    struct hostent *entry;
    int host_error;

    if (worker == NULL)
        return real_gethostbyaddr(addr, len, family);
    entry = (struct hostent *)wf_offload(worker, WF_OFFLOAD_WORK, addr_run, (long)addr, len, family,
                                         (long)&host_error);
    h_errno = host_error;
    return entry;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(getaddrinfo, WF_HOOK_ALL),
    WF_HOOK(getnameinfo, WF_HOOK_ALL),
    WF_HOOK(gethostbyname_r, WF_HOOK_ALL),
    WF_HOOK(gethostbyname2_r, WF_HOOK_ALL),
    WF_HOOK(gethostbyaddr_r, WF_HOOK_ALL),
    WF_HOOK(gethostbyname, WF_HOOK_ALL),
    WF_HOOK(gethostbyname2, WF_HOOK_ALL),
    WF_HOOK(gethostbyaddr, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(resolve);
