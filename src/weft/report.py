"""What a run took: the figures behind `weft run --report`.

Taken at the very end, when every thread that is waited for is done, and for the program
alone: the clocks start just before it does, the interpreter's own start is not in them.

Peak memory is the kernel's high-water mark of this process image (VmHWM).  getrusage's
ru_maxrss would do, but for one trap: it survives exec, so a small program started by a big one
reports the big one's memory.
"""

import atexit
import dataclasses
import json
import os
import resource
import sys
import time

from weft import _core, _threads


@dataclasses.dataclass(frozen=True)
class Report:
    """One run.  Threads are green threads on weft, and OS threads with ``--os-threads``."""

    mode: str
    """ "weft" or "os-threads"."""
    threads_started: int
    """Threads the program started; its main thread is not counted."""
    peak_alive: int
    """Most of them alive at one time."""
    switches: int | None
    """Switches between green threads; None with ``--os-threads``, where only the kernel knows."""
    os_threads: int
    """OS threads used: the main one, and the most others there were at one time."""
    peak_memory_bytes: int
    """Most memory resident at one time."""
    wall_seconds: float
    """Time that passed."""
    cpu_seconds: float
    """Time that processors spent, user and system, all threads together."""

    def text(self) -> str:
        """The report as people read it."""
        kind = "OS threads" if self.mode == "os-threads" else "green threads"
        lines = [
            (f"{kind} started", f"{self.threads_started:,}"),
            ("most alive at once", f"{self.peak_alive:,}"),
            ("switches", "(the kernel's)" if self.switches is None else f"{self.switches:,}"),
            ("OS threads used", f"{self.os_threads:,}"),
            ("peak memory", f"{self.peak_memory_bytes / 2**20:,.1f} MiB"),
            ("wall time", f"{self.wall_seconds:,.3f} s"),
            ("CPU time", f"{self.cpu_seconds:,.3f} s"),
        ]
        return "".join(f"weft: {name:<21} {value}\n" for name, value in lines)


class Reporter:
    """Measures from `start` to the end of the process, and then reports."""

    def __init__(self, *, os_threads: bool, to_stderr: bool, json_path: str | None) -> None:
        self._os_threads = os_threads
        self._to_stderr = to_stderr
        # The program may change its folder before we write.
        self._json_path = json_path and os.path.abspath(json_path)

    def start(self) -> None:
        """Start the clocks, and arrange for the report at exit."""
        if self._os_threads:
            _core._count_threads()
        self._process = os.getpid()
        atexit.register(self._finish)
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def _finish(self) -> None:
        if os.getpid() != self._process:
            return  # a forked child leaves through the same door
        _threads.join_non_daemons()
        report = self._measure()
        if self._json_path is not None:
            with open(self._json_path, "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(report), file, indent=2)
                file.write("\n")
        if self._to_stderr:
            sys.stderr.write(report.text())

    def _measure(self) -> Report:
        wall = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        os_started, _, os_peak = _core._thread_counts()
        green = _core.statistics()
        return Report(
            mode="os-threads" if self._os_threads else "weft",
            threads_started=os_started if self._os_threads else green.started,
            peak_alive=os_peak if self._os_threads else green.peak_alive,
            switches=None if self._os_threads else green.switches,
            os_threads=1 + os_peak,
            peak_memory_bytes=_peak_memory_bytes(),
            wall_seconds=wall,
            cpu_seconds=cpu,
        )


def _peak_memory_bytes() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
