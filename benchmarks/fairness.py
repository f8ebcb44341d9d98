"""Do green threads that compute share an OS thread evenly?  The worst gap of a ticker, in slices.

Two hogs compute without end, and a ticker sleeps for a tenth of a slice at a time, all on one OS
thread, for two seconds.  The number is the longest time between two ticks, divided by the time
slice.  If one hog gets a fifth more than the other, there is no number but an error.

On the main OS thread and then on another; the worse of the two counts.  Without preemption
(`cooperative`, and any peer) the ticker ticks when the hogs are done: after 400 slices of 5 ms.
"""

from __future__ import annotations

import argparse
import threading
from time import monotonic, sleep

from harness import Benchmark, run, unpin

MOST_UNEVEN = 1.2


class Options(argparse.Namespace):
    seconds: float


def shares_and_gap(seconds: float, tick_seconds: float) -> tuple[list[int], float]:
    """How often each hog went round, and the ticker's worst gap."""
    from weft import spawn

    end = monotonic() + seconds

    def compute() -> int:
        rounds = 0
        while monotonic() < end:
            rounds += 1
        return rounds

    def tick() -> float:
        worst, last = 0.0, monotonic()
        while last < end:
            sleep(tick_seconds)
            now = monotonic()
            worst, last = max(worst, now - last), now
        return worst

    ticker, *hogs = spawn(tick), spawn(compute), spawn(compute)
    return [hog.result() for hog in hogs], ticker.result()


def worst_gap(options: Options) -> float:
    from weft import get_preemption

    unpin()  # the watchdog is an OS thread of its own
    slice_seconds = get_preemption() or 0.005
    shares, gap = shares_and_gap(options.seconds, slice_seconds / 10)
    if get_preemption() and max(shares) > MOST_UNEVEN * min(shares):
        raise RuntimeError(f"the hogs' shares are uneven: {shares}")
    return gap / slice_seconds


def weft(options: Options) -> float:
    gaps = [worst_gap(options)]
    thread = threading.Thread(target=lambda: gaps.append(worst_gap(options)))
    thread.start()
    thread.join()
    return max(gaps)


def cooperative(options: Options) -> float:
    from weft import set_preemption

    set_preemption(None)
    return worst_gap(options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    run(Benchmark("fairness", "slices", [weft, cooperative]), parser)
