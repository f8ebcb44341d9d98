"""What does a call through an executor cost?  us of CPU to submit a no-op and take its result.

Calls are submitted in batches, then their results are taken one by one.  gevent's pool has no
futures of concurrent.futures but greenlets, which are cheaper: most of a call's cost here is its
Future.
"""

from __future__ import annotations

import argparse
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from harness import Benchmark, run

if TYPE_CHECKING:
    from collections.abc import Callable


class Options(argparse.Namespace):
    count: int
    batch: int


def nothing() -> None:
    pass


def submit_and_take(
    submit: Callable[[Callable[[], None]], Any], take: Callable[[Any], object], options: Options
) -> float:
    began = process_time_ns()
    for _ in range(options.count // options.batch):
        for call in [submit(nothing) for _ in range(options.batch)]:
            take(call)
    return (process_time_ns() - began) / options.count / 1000


def weft(options: Options) -> float:
    from weft import Executor

    with Executor() as executor:
        return submit_and_take(executor.submit, lambda future: future.result(), options)


def weft_limited(options: Options) -> float:
    """With a limit, calls queue."""
    from weft import Executor

    with Executor(8) as executor:
        return submit_and_take(executor.submit, lambda future: future.result(), options)


def gevent(options: Options) -> float:
    from gevent.pool import Pool

    return submit_and_take(Pool().spawn, lambda greenlet: greenlet.get(), options)


def threads(options: Options) -> float:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as executor:
        return submit_and_take(executor.submit, lambda future: future.result(), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="calls per round")
    parser.add_argument("--batch", type=int, default=100, help="of them in flight at once")
    contenders = [weft, weft_limited, gevent, threads]
    run(Benchmark("executor", "us", contenders, rounds=5, warm_up=1), parser)
