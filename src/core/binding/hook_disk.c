/* hook_disk.c - regular files: reads at a position, reads that memory cannot serve, and flushes.
 *
 * A regular file is always "ready", and cannot be waited for; yet a read may have to wait for the disk.
 * RWF_NOWAIT reads what the page cache holds.  What it does not hold, an OS thread reads for us; and it waits
 * for us while something is written to the disk.
 *
 * A plain write only fills the page cache and is made here, as are reads from files that do not know
 * RWF_NOWAIT (/proc, /sys), unless they are on another machine.
 */
#include "hook.h"
#include "offload.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pread64)(int, void *, size_t, off64_t);
static ssize_t (*real___pread_chk)(int, void *, size_t, off_t, size_t);
static ssize_t (*real___pread64_chk)(int, void *, size_t, off64_t, size_t);
static ssize_t (*real_preadv)(int, const struct iovec *, int, off_t);
static ssize_t (*real_preadv64)(int, const struct iovec *, int, off64_t);
static ssize_t (*real_preadv2)(int, const struct iovec *, int, off_t, int);
static ssize_t (*real_preadv64v2)(int, const struct iovec *, int, off64_t, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_sync_file_range)(int, off64_t, off64_t, unsigned);
static int (*real_syncfs)(int);
static void (*real_sync)(void);
static int (*real_msync)(void *, size_t, int);

/* {=== The rest of a read ===} */

/* linux/magic.h does not name these. */
#define FUSE_MAGIC 0x65735546
#define CEPH_MAGIC 0x00c36400
#define CIFS_MAGIC 0xff534d42
#define SMB2_MAGIC 0xfe534d42

bool wf_disk_is_remote(int fd)
{
    static const uint32_t remote[] = {NFS_SUPER_MAGIC, FUSE_MAGIC, CEPH_MAGIC, CIFS_MAGIC,
                                      SMB2_MAGIC,      V9FS_MAGIC, AFS_SUPER_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        if ((uint32_t)fs.f_type == remote[i])
            return true;
    return false;
}

static ssize_t read_from_disk(struct wf_worker *worker, int fd, char *buf, size_t len, off64_t offset)
{
    if (offset < 0)
        return wf_offload(worker, WF_OFFLOAD_WORK, read, fd, (long)buf, (long)len);
    return wf_offload(worker, WF_OFFLOAD_WORK, real_pread64, fd, (long)buf, (long)len, offset);
}

/* One stretch of memory.  Where the cache ends the file may end as well: only the cache can tell at no cost. */
static ssize_t read_stretch(struct wf_worker *worker, int fd, char *buf, size_t len, off64_t offset)
{
    size_t done = 0;

    while (done < len) {
        struct iovec iov = {buf + done, len - done};
        off64_t from = offset < 0 ? -1 : offset + (off64_t)done;
        ssize_t got = preadv2(fd, &iov, 1, from, RWF_NOWAIT);
        if (got < 0)
            got = read_from_disk(worker, fd, iov.iov_base, iov.iov_len, from);
        if (got < 0 && done == 0)
            return -1;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

ssize_t wf_disk_read_rest(struct wf_worker *worker, int fd, const struct iovec *iov, int count,
                          off64_t offset, ssize_t got)
{
    size_t skip = (size_t)got;

    for (int i = 0; i < count; i++) {
        size_t len = iov[i].iov_len;
        ssize_t more;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        more = read_stretch(worker, fd, (char *)iov[i].iov_base + skip, len - skip,
                            offset < 0 ? -1 : offset + got);
        if (more < 0)
            return got > 0 ? got : -1;
        got += more;
        if ((size_t)more < len - skip)
            break;
        skip = 0;
    }
    return got;
}

/* {=== Reading at a position ===} */

static size_t vector_len(const struct iovec *iov, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    return len;
}

/* Of a file without RWF_NOWAIT. */
static ssize_t read_somehow(struct wf_worker *worker, int fd, const struct iovec *iov, int count,
                            off64_t offset, int flags)
{
    if (!wf_disk_is_remote(fd))
        return real_preadv64v2(fd, iov, count, offset, flags);
    return wf_offload(worker, WF_OFFLOAD_WORK, real_preadv64v2, fd, (long)iov, count, offset, flags);
}

static ssize_t read_at(struct wf_worker *worker, int fd, const struct iovec *iov, int count,
                       off64_t offset, int flags)
{
    int error = errno;
    ssize_t got = real_preadv64v2(fd, iov, count, offset, flags | RWF_NOWAIT);

    if (got < 0 && errno == EOPNOTSUPP)
        got = read_somehow(worker, fd, iov, count, offset, flags);
    else if (got > 0 && (size_t)got < vector_len(iov, count))
        got = wf_disk_read_rest(worker, fd, iov, count, offset, got);
    else if (got < 0 && errno == EAGAIN)
        got = wf_disk_read_rest(worker, fd, iov, count, offset, 0);
    if (got >= 0) {
        wf_ready_call(worker);
        errno = error;
    }
    return got;
}

/* A negative position is an error, for the real call to tell; but to preadv2, -1 is the file's own. */
static ssize_t hook_pread64(int fd, void *buf, size_t len, off64_t offset)
{
    struct wf_worker *worker = wf_hook_worker();
    struct iovec iov = {buf, len};

    if (worker == NULL || offset < 0)
        return real_pread64(fd, buf, len, offset);
    return read_at(worker, fd, &iov, 1, offset, 0);
}

static ssize_t hook_pread(int fd, void *buf, size_t len, off_t offset)
{
    return wf_hook_worker() == NULL ? real_pread(fd, buf, len, offset)
                                    : hook_pread64(fd, buf, len, offset);
}

static ssize_t hook___pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size)
{
    return len > size ? real___pread64_chk(fd, buf, len, offset, size)
                      : hook_pread64(fd, buf, len, offset);
}

static ssize_t hook___pread_chk(int fd, void *buf, size_t len, off_t offset, size_t size)
{
    return len > size ? real___pread_chk(fd, buf, len, offset, size)
                      : hook_pread64(fd, buf, len, offset);
}

static ssize_t hook_preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL || offset < 0 ? real_preadv64(fd, iov, count, offset)
                                        : read_at(worker, fd, iov, count, offset, 0);
}

static ssize_t hook_preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    return wf_hook_worker() == NULL ? real_preadv(fd, iov, count, offset)
                                    : hook_preadv64(fd, iov, count, offset);
}

/* Without a position it is a read from whatever it may be, with flags that we leave to the kernel. */
static ssize_t hook_preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL || offset < 0 || flags != 0
               ? real_preadv64v2(fd, iov, count, offset, flags)
               : read_at(worker, fd, iov, count, offset, 0);
}

static ssize_t hook_preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    return wf_hook_worker() == NULL ? real_preadv2(fd, iov, count, offset, flags)
                                    : hook_preadv64v2(fd, iov, count, offset, flags);
}

/* {=== Flushing ===} */

static int hook_fsync(int fd)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_fsync(fd)
                          : (int)wf_offload(worker, WF_OFFLOAD_WORK, real_fsync, fd);
}

static int hook_fdatasync(int fd)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_fdatasync(fd)
                          : (int)wf_offload(worker, WF_OFFLOAD_WORK, real_fdatasync, fd);
}

static int hook_sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        return real_sync_file_range(fd, offset, len, flags);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_sync_file_range, fd, offset, len, flags);
}

static int hook_syncfs(int fd)
{
    struct wf_worker *worker = wf_hook_worker();

    return worker == NULL ? real_syncfs(fd)
                          : (int)wf_offload(worker, WF_OFFLOAD_WORK, real_syncfs, fd);
}

static void hook_sync(void)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL)
        real_sync();
    else
        wf_offload(worker, WF_OFFLOAD_WORK, real_sync, 0);
}

static int hook_msync(void *address, size_t len, int flags)
{
    struct wf_worker *worker = wf_hook_worker();

    if (worker == NULL || !(flags & MS_SYNC))
        return real_msync(address, len, flags);
    return (int)wf_offload(worker, WF_OFFLOAD_WORK, real_msync, (long)address, (long)len, flags);
}

static const struct wf_hook hooks[] = {
    WF_HOOK(pread, WF_HOOK_ALL),
    WF_HOOK(pread64, WF_HOOK_ALL),
    WF_HOOK(__pread_chk, WF_HOOK_ALL),
    WF_HOOK(__pread64_chk, WF_HOOK_ALL),
    WF_HOOK(preadv, WF_HOOK_ALL),
    WF_HOOK(preadv64, WF_HOOK_ALL),
    WF_HOOK(preadv2, WF_HOOK_ALL),
    WF_HOOK(preadv64v2, WF_HOOK_ALL),
    WF_HOOK(fsync, WF_HOOK_ALL),
    WF_HOOK(fdatasync, WF_HOOK_ALL),
    WF_HOOK(sync_file_range, WF_HOOK_ALL),
    WF_HOOK(syncfs, WF_HOOK_ALL),
    WF_HOOK(sync, WF_HOOK_ALL),
    WF_HOOK(msync, WF_HOOK_ALL),
};

WF_HOOK_FAMILY(disk);
