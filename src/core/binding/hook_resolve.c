/* hook_resolve.c - names to addresses and back, on an OS thread.
 *
 * The resolver waits inside libc, where no hook reaches, so the whole call is offloaded.
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
static int (*real_gethostbyaddr_r)(const void *, socklen_t, int, struct hostent *, char *, size_t,
                                   struct hostent **, int *);

/* One struct for all four: what they share is a result, an errno, and being told to run. */
struct getaddrinfo_call {
    const char *node, *service;
    const struct addrinfo *hints;
    struct addrinfo **list;
    int result, error;
};

static void getaddrinfo_run(void *arg)
{
    struct getaddrinfo_call *call = arg;

    call->result = real_getaddrinfo(call->node, call->service, call->hints, call->list);
    call->error = errno;
}

/* An address in digits needs no waiting, and no OS thread. */
static bool is_numeric(const struct addrinfo *hints)
{
    return hints != NULL && (hints->ai_flags & AI_NUMERICHOST);
}

static int hook_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **list)
{
    struct wf_worker *worker = wf_hook_worker();
    struct getaddrinfo_call call = {node, service, hints, list, 0, 0};
    struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST};

    if (worker == NULL || node == NULL || is_numeric(hints))
        return real_getaddrinfo(node, service, hints, list);
    if (hints != NULL)
        numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    call.result = real_getaddrinfo(node, service, &numeric, list);
    if (call.result != EAI_NONAME)
        return call.result;
    if (!wf_offload(worker, getaddrinfo_run, &call))
        return real_getaddrinfo(node, service, hints, list);
    errno = call.error;
    return call.result;
}

struct getnameinfo_call {
    const struct sockaddr *addr;
    socklen_t addr_len;
    char *host;
    socklen_t host_len;
    char *service;
    socklen_t service_len;
    int flags, result, error;
};

static void getnameinfo_run(void *arg)
{
    struct getnameinfo_call *call = arg;

    call->result = real_getnameinfo(call->addr, call->addr_len, call->host, call->host_len,
                                    call->service, call->service_len, call->flags);
    call->error = errno;
}

static int hook_getnameinfo(const struct sockaddr *addr, socklen_t addr_len, char *host,
                            socklen_t host_len, char *service, socklen_t service_len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();
    struct getnameinfo_call call = {addr, addr_len, host, host_len, service, service_len,
                                    flags, 0, 0};

    if (worker == NULL || (flags & NI_NUMERICHOST)
        || !wf_offload(worker, getnameinfo_run, &call))
        return real_getnameinfo(addr, addr_len, host, host_len, service, service_len, flags);
    errno = call.error;
    return call.result;
}

struct gethostby_call {
    const void *key; /* a name, or an address of key_len bytes */
    socklen_t key_len;
    int family;
    struct hostent *entry;
    char *buf;
    size_t buf_len;
    struct hostent **found;
    int *host_error;
    int result, error;
};

static void gethostbyname_run(void *arg)
{
    struct gethostby_call *call = arg;

    call->result = real_gethostbyname_r(call->key, call->entry, call->buf, call->buf_len,
                                        call->found, call->host_error);
    call->error = errno;
}

static int hook_gethostbyname_r(const char *name, struct hostent *entry, char *buf, size_t buf_len,
                                struct hostent **found, int *host_error)
{
    struct wf_worker *worker = wf_hook_worker();
    struct gethostby_call call = {.key = name, .entry = entry, .buf = buf, .buf_len = buf_len,
                                  .found = found, .host_error = host_error};

    if (worker == NULL || !wf_offload(worker, gethostbyname_run, &call))
        return real_gethostbyname_r(name, entry, buf, buf_len, found, host_error);
    errno = call.error;
    return call.result;
}

static void gethostbyaddr_run(void *arg)
{
    struct gethostby_call *call = arg;

    call->result = real_gethostbyaddr_r(call->key, call->key_len, call->family, call->entry,
                                        call->buf, call->buf_len, call->found, call->host_error);
    call->error = errno;
}

static int hook_gethostbyaddr_r(const void *addr, socklen_t len, int family, struct hostent *entry,
                                char *buf, size_t buf_len, struct hostent **found, int *host_error)
{
    struct wf_worker *worker = wf_hook_worker();
    struct gethostby_call call = {.key = addr, .key_len = len, .family = family, .entry = entry,
                                  .buf = buf, .buf_len = buf_len, .found = found,
                                  .host_error = host_error};

    if (worker == NULL || !wf_offload(worker, gethostbyaddr_run, &call))
        return real_gethostbyaddr_r(addr, len, family, entry, buf, buf_len, found, host_error);
    errno = call.error;
    return call.result;
}

static const struct wf_hook hooks[] = {
    WF_HOOK(getaddrinfo, WF_HOOK_ALL),
    WF_HOOK(getnameinfo, WF_HOOK_ALL),
    WF_HOOK(gethostbyname_r, WF_HOOK_ALL),
    WF_HOOK(gethostbyaddr_r, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(resolve);
