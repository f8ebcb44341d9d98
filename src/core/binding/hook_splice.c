/* hook_splice.c - moving bytes inside the kernel: sendfile, splice, tee, vmsplice, copy_file_range.
 *
 * None of them can be asked per call not to block (SPLICE_F_NONBLOCK is about the pipe, not about what is at the
 * other end of the move), so an OS thread makes the call.  It has done part of its work when it is
 * interrupted; so it is not.
 */
#include "hook.h"
#include "offload.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

static ssize_t (*real_sendfile)(int, int, off_t *, size_t);
static ssize_t (*real_sendfile64)(int, int, off64_t *, size_t);
static ssize_t (*real_splice)(int, off64_t *, int, off64_t *, size_t, unsigned);
static ssize_t (*real_tee)(int, int, size_t, unsigned);
static ssize_t (*real_vmsplice)(int, const struct iovec *, size_t, unsigned);
static ssize_t (*real_copy_file_range)(int, off64_t *, int, off64_t *, size_t, unsigned);

/* An error, too, is for the real call to tell. */
static bool blocks(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

static ssize_t hook_sendfile64(int out, int in, off64_t *offset, size_t count)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !blocks(out))
        return real_sendfile64(out, in, offset, count);
    return wf_offload(worker, WF_OFFLOAD_WAIT, real_sendfile64, out, in, (long)offset, (long)count);
}

static ssize_t hook_sendfile(int out, int in, off_t *offset, size_t count)
{
    return wf_hook_worker() == NULL ? real_sendfile(out, in, offset, count)
                                    : hook_sendfile64(out, in, offset, count);
}

static ssize_t hook_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t len,
                           unsigned flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (!blocks(in) && !blocks(out)))
        return real_splice(in, in_offset, out, out_offset, len, flags);
    return wf_offload(worker, WF_OFFLOAD_WAIT, real_splice, in, (long)in_offset, out,
                      (long)out_offset, (long)len, flags);
}

static ssize_t hook_tee(int in, int out, size_t len, unsigned flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & SPLICE_F_NONBLOCK))
        return real_tee(in, out, len, flags);
    return wf_offload(worker, WF_OFFLOAD_WAIT, real_tee, in, out, (long)len, flags);
}

static ssize_t hook_vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || (flags & SPLICE_F_NONBLOCK))
        return real_vmsplice(fd, iov, count, flags);
    return wf_offload(worker, WF_OFFLOAD_WAIT, real_vmsplice, fd, (long)iov, (long)count, flags);
}

static ssize_t hook_copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                                    size_t len, unsigned flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_copy_file_range(in, in_offset, out, out_offset, len, flags);
    return wf_offload(worker, WF_OFFLOAD_WORK, real_copy_file_range, in, (long)in_offset, out,
                      (long)out_offset, (long)len, flags);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(sendfile, WF_HOOK_ALL),
    WF_HOOK(sendfile64, WF_HOOK_ALL),
    WF_HOOK(splice, WF_HOOK_ALL),
    WF_HOOK(tee, WF_HOOK_ALL),
    WF_HOOK(vmsplice, WF_HOOK_ALL),
    WF_HOOK(copy_file_range, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(splice);
