"""What `weft doctor` says of the machine: how far green threads can go on it.

Most limits only matter to a program with very many green threads, so a low one is a note; a
problem is what stops programs of any size.
"""

import errno
import os
import resource
import threading
from pathlib import Path

from weft import _core
from weft._finding import Finding

MANY_DESCRIPTORS = 4096
PARKED_BYTES = 4800  # one parked a few calls deep; README.md, "Numbers"
NEVER_OVERCOMMIT = 2
KIB, MIB = 2**10, 2**20


def findings() -> list[Finding]:
    """One for each thing that sets a limit, or that weft asks of the kernel."""
    return [
        _stacks(),
        _guard_pages(),
        *_address_space(),
        *_memory(),
        _descriptors(),
        _children(),
        _reads(),
        *_seccomp(),
    ]


def _stacks() -> Finding:
    sizes = _core._limits()
    asked = threading.stack_size()
    if asked:
        text = f"Stacks have {asked // KIB:,} KiB, as threading.stack_size was told."
    else:
        text = (
            f"The first {sizes.large_stacks:,} stacks of an OS thread have "
            f"{sizes.large_stack_size // MIB} MiB, the others {sizes.small_stack_size // KIB} KiB; "
            "only what is used takes memory."
        )
    return Finding("ok", text)


def _guard_pages() -> Finding:
    if _core._limits().cheap_guards:
        return Finding("ok", "Guards below stacks cost the kernel no mapping (MADV_GUARD_INSTALL).")
    maps = _number("/proc/sys/vm/max_map_count") or 65530
    return Finding(
        "note",
        f"Guards below stacks split mappings (mprotect; MADV_GUARD_INSTALL needs Linux 6.13): "
        f"vm.max_map_count = {maps:,} allows about {maps // 2:,} green threads.",
        "For more of them: sysctl vm.max_map_count=1000000",
    )


def _address_space() -> list[Finding]:
    found = []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    stack = _core._limits().large_stack_size
    if limit != resource.RLIM_INFINITY:
        found.append(
            Finding(
                "note",
                f"Address space is limited to {limit // MIB:,} MiB (RLIMIT_AS): room for about "
                f"{limit // stack:,} stacks of {stack // MIB} MiB.",
                "For more green threads: threading.stack_size(256 * 1024), or ulimit -v unlimited",
            )
        )
    if _number("/proc/sys/vm/overcommit_memory") == NEVER_OVERCOMMIT:
        found.append(
            Finding(
                "note",
                "The kernel promises no more memory than it has (vm.overcommit_memory = 2): stacks "
                "count with their whole size, used or not.",
                "For more green threads: threading.stack_size(256 * 1024)",
            )
        )
    return found


def _memory() -> list[Finding]:
    limit = _cgroup_memory_limit()
    if limit is None:
        return []
    text = (
        f"The control group allows {limit // MIB:,} MiB of memory: room for about "
        f"{limit // PARKED_BYTES:,} parked green threads."
    )
    return [Finding("ok", text)]


def _cgroup_memory_limit() -> int | None:
    """The least limit on the way from this process's group to the root, or None."""
    limits = []
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        limits += [_number(str(folder / name)) for folder in (group, *group.parents)]
    # The older kind of group says "no limit" by a number larger than any memory.
    return min((limit for limit in limits if limit is not None and limit < 2**60), default=None)


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_count(soft)} descriptors may be open at once (RLIMIT_NOFILE)."
    if soft == resource.RLIM_INFINITY or soft >= MANY_DESCRIPTORS:
        return Finding("ok", text)
    return Finding("note", text, f"For more connections: ulimit -n, up to {_count(hard)}")


def _children() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return Finding("note", f"Child processes are asked for again and again (pidfd: {error}).")
    return Finding("ok", "Child processes are waited for without asking again (pidfd).")


def _reads() -> Finding:
    reader, writer = os.pipe()
    try:
        os.preadv(reader, [bytearray(1)], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            text = f"Reads are preceded by a poll: the kernel has no RWF_NOWAIT here ({error})."
            return Finding("note", text)
    finally:
        os.close(reader)
        os.close(writer)
    return Finding("ok", "Reads are tried without a poll before them (RWF_NOWAIT).")


def _seccomp() -> list[Finding]:
    status = dict(
        line.split(":\t", 1) for line in _text("/proc/self/status").splitlines() if ":\t" in line
    )
    if status.get("Seccomp", "0") != "2":
        return []
    text = "A seccomp filter is active; it lets pass what was tried here, unless a line says not."
    return [Finding("note", text)]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"
