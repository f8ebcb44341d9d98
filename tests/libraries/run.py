"""The proof that libraries just work: unmodified, against real servers, in 50 green threads.

    python3 tests/libraries/run.py [--only NAME ...] [--quick] [--version 3.11] [--soak SECONDS]

Each case (case.py) runs in three ways: as green threads on one OS thread, as OS threads, and one
job after the other; each in a process of its own, in turn, so that a busy minute hits all three.
One table says what each took, in seconds, and whether weft passes:

    no job failed        each job checks the data it gets
    no OS threads        but the first, weft's helpers, and those the library makes for itself
    concurrent           the jobs one after the other take several times as long (SPEEDUP)

Times are only ever compared with times of the same run.  A case that cannot run is skipped, and the
table says why.  With --soak, the cases then run all together in one process (soak.py).  Exit status
1 if anything fails.

Web servers (web_case.py) have a table of their own: requests per second under `weft run` and under
plain Python (web_measure.py).

Where what is: case.py says what a case is, and cases/ has them; environment.py, debian.py and
servers.py provide what they need; measure.py and child.py run them; table.py prints.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

import environment
from case import all_cases
from measure import Servers, run_cases, run_script
from web_case import WEB_CASES
from web_measure import run_web_cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from case import Case
    from web_case import WebCase


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run unmodified libraries in green threads.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these cases (--list names them)")
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    parser.add_argument("--quick", action="store_true", help="fewer jobs")
    parser.add_argument("--version", default="3.11", help="of CPython (default: 3.11)")
    parser.add_argument(
        "--soak", type=float, metavar="SECONDS", help="then all cases together, for that long"
    )
    parser.add_argument("--no-table", action="store_true", help="nothing but the soak")
    parser.add_argument(
        "--no-build", action="store_true", help="measure the weft built last time, or PYTHONPATH's"
    )
    return parser.parse_args()


def chosen(only: list[str] | None) -> tuple[list[Case], list[WebCase]]:
    cases = all_cases()
    unknown = set(only or []) - {case.key for case in cases} - {case.key for case in WEB_CASES}
    if unknown:
        sys.exit(f"no such case: {' '.join(sorted(unknown))}")
    wanted = [case for case in cases if not only or case.key in only]
    return wanted, [case for case in WEB_CASES if not only or case.key in only]


def measure_all(
    cases: list[Case], missing: dict[str, str], servers: Servers, *, quick: bool
) -> bool:
    """Print the table; True if nothing fails."""
    from table import print_details, print_table  # not before we are in the environment

    results = list(run_cases(cases, missing, servers, quick=quick))
    print_table(results)
    print_details(results)
    return not any(result.troubles() for result in results)


def measure_web(cases: list[WebCase], missing: dict[str, str], *, quick: bool) -> bool:
    """The same, for web servers."""
    from table import print_web_details, print_web_table

    results = list(run_web_cases(cases, missing, quick=quick))
    print_web_table(results)
    print_web_details(results)
    return not any(result.troubles() for result in results)


def soak(cases: list[Case], servers: Servers, seconds: float) -> bool:
    """Print what soak.py says; True if it has no complaints."""
    able = [case for case in cases if case.soak and not servers.reason_without(case.servers)]
    keys = [case.key for case in able]
    environment.say(f"soaking {len(keys)} cases for {seconds:g} s ...")
    limit = 3 * seconds + 120
    result = run_script("soak.py", str(seconds), *keys, addresses=servers.addresses, limit=limit)
    print(*result.get("lines", []), sep="\n")
    if result["trouble"]:
        print(f"soak: {result['trouble']}\n{result['details'].rstrip()}")
    return not result["trouble"]


def print_list(cases: Sequence[Case | WebCase]) -> None:
    for case in cases:
        print(f"{case.key:24}{case.name}")


def main() -> int:
    options = arguments()
    cases, web_cases = chosen(options.only)
    if options.list:
        print_list([*cases, *web_cases])
        return 0
    try:
        environment.enter(options.version, build=not options.no_build)
    except RuntimeError as error:
        sys.exit(f"no environment: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended
    missing = environment.provide([*cases, *web_cases])
    good = True
    with Servers() as servers:
        if cases and not options.no_table:
            good &= measure_all(cases, missing, servers, quick=options.quick)
        if web_cases and not options.no_table:
            good &= measure_web(web_cases, missing, quick=options.quick)
        if options.soak:
            available = [case for case in cases if case.key not in missing]
            good &= soak(available, servers, options.soak)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
