"""What the command prints: a row for each case, then what went wrong, in full."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from case import MODES
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from measure import Result
    from web_measure import WebResult

WIDTH = 140  # where the output is a file


def print_table(results: list[Result]) -> None:
    table = Table(title="Unmodified libraries in green threads", title_justify="left")
    table.add_column("case")
    for heading in ("jobs x s", "green", "cpu", "OS threads", "threads", "cpu", "serial"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for result in results:
        table.add_row(*cells(result))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def cells(result: Result) -> list[str]:
    case = result.case
    row = [case.name, f"{result.jobs} x {case.seconds:g}"]
    if result.skipped:
        return [*row, *[""] * 6, f"skipped: {result.skipped}"]
    for mode in MODES:
        run = result.runs.get(mode, {})
        row.append(f"{run['wall']:.2f}" if "wall" in run else "")
        if mode != "serial":
            row.append(f"{run['cpu']:.3f}" if "cpu" in run else "")
        if mode == "green":
            row.append(os_threads(run) if "wall" in run else "")
    return [*row, "; ".join(result.troubles()) or "pass"]


def os_threads(run: dict[str, int]) -> str:
    """How many there were, and how many of them were weft's helpers."""
    helpers = run["helpers"]
    return f"{run['os_threads'] - helpers} + {helpers}" if helpers else str(run["os_threads"])


def print_details(results: list[Result]) -> None:
    for result in results:
        for mode, run in result.runs.items():
            if run["trouble"]:
                print(f"\n--- {result.case.name}, {mode}: {run['trouble']}")
                print(run["details"].rstrip())


# --- web servers ----------------------------------------------------------------------------------


def print_web_table(results: list[WebResult]) -> None:
    table = Table(title="Requests to unmodified web servers", title_justify="left")
    table.add_column("server x connections", no_wrap=True)
    for mode in ("green", "threads"):
        for heading in (f"{mode}/s", "ms cpu", "OS threads"):
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for result in results:
        table.add_row(*web_cells(result))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def web_cells(result: WebResult) -> list[str]:
    row = [f"{result.case.name} x {result.case.connections}"]
    if result.skipped:
        return [*row, *[""] * 6, f"skipped: {result.skipped}"]
    for mode in ("green", "threads"):
        row.append(f"{result.median(mode, 'requests_per_second'):.0f}")
        row.append(f"{result.median(mode, 'cpu_ms'):.2f}")
        row.append(f"{result.median(mode, 'os_threads'):.0f}")
    return [*row, "; ".join(result.troubles()) or "pass"]


def print_web_details(results: list[WebResult]) -> None:
    for result in results:
        for mode, loads in result.loads.items():
            for load in loads:
                if load.troubles:
                    print(f"\n--- {result.case.name}, {mode}: {load.troubles}\n{load.log.rstrip()}")
