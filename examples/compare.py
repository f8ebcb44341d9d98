"""Run crawl.py twice, on OS threads and on weft, and set what was measured side by side.

Both runs are processes of their own, made in the same way but for one flag.  Every figure in
the table comes from these two runs: the costs from `weft run --report-json`, the findings
from what crawl.py printed.  Exit status 1 if the two did not find the same.

    make run                                         or, with weft and rich installed,
    python examples/compare.py [--threads N] [--latency MS] [--root FOLDER]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

CRAWL = Path(__file__).with_name("crawl.py")


@dataclass(frozen=True)
class Run:
    """One run of crawl.py: what it cost and what it found."""

    cost: dict[str, Any]
    found: dict[str, Any]


class RunFailedError(Exception):
    """crawl.py did not end well; the message is what it said."""


def warm_up(folder: Path) -> None:
    """Read what will be served, so that the first run does not pay the disk for both."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def run_crawl(
    weft_options: list[str], crawl_options: list[str], on_progress: Callable[[int, int], None]
) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "weft", "run", *weft_options]
        command += ["--report-json", str(report)]
        command += [str(CRAWL), "--json", "--progress", *crawl_options]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            found, errors = read_both(process, on_progress)
        if process.returncode != 0:
            said = f"{errors}{found}status {process.returncode}"
            raise RunFailedError(f"{' '.join(command)}\n{said}")
        return Run(json.loads(report.read_text()), json.loads(found))


def read_both(
    process: subprocess.Popen[str], on_progress: Callable[[int, int], None]
) -> tuple[str, str]:
    """Standard output, and what standard error had to say besides the progress."""
    assert process.stdout is not None  # noqa: S101 - both are pipes
    assert process.stderr is not None  # noqa: S101
    errors: list[str] = []
    reader = threading.Thread(target=follow_progress, args=(process.stderr, on_progress, errors))
    reader.start()
    found = process.stdout.read()
    reader.join()
    return found, "".join(errors)


def follow_progress(
    lines: IO[str], on_progress: Callable[[int, int], None], errors: list[str]
) -> None:
    for line in lines:
        match line.split():
            case ["progress", done, known]:
                on_progress(int(done), int(known))
            case _:
                errors.append(line)


# --- The table -------------------------------------------------------------------------


def cost_rows(runs: Iterable[Run]) -> list[tuple[str, list[str]]]:
    costs = [run.cost for run in runs]
    return [
        ("wall time", [f"{cost['wall_seconds']:.2f} s" for cost in costs]),
        ("CPU time", [f"{cost['cpu_seconds']:.2f} s" for cost in costs]),
        ("threads started", [f"{cost['threads_started']:,}" for cost in costs]),
        ("most alive at once", [f"{cost['peak_alive']:,}" for cost in costs]),
        ("OS threads used", [f"{cost['os_threads']:,}" for cost in costs]),
        ("peak memory", [f"{cost['peak_memory_bytes'] / 2**20:.1f} MiB" for cost in costs]),
    ]


def found_rows(runs: Iterable[Run]) -> list[tuple[str, list[str]]]:
    names = {
        "pages": "pages fetched",
        "files": "files",
        "bytes": "bytes",
        "python_files": "Python files",
        "python_lines": "lines of Python",
    }
    return [(name, [f"{run.found[key]:,}" for run in runs]) for key, name in names.items()]


def table(on_os_threads: Run, on_weft: Run) -> Table:
    runs = (on_os_threads, on_weft)
    result = Table(title="One unmodified program, two ways to run its threads")
    result.add_column("")
    result.add_column("OS threads", justify="right")
    result.add_column("weft", justify="right", style="bold")
    for name, cells in cost_rows(runs):
        result.add_row(name, *cells)
    result.add_section()
    for name, cells in found_rows(runs):
        result.add_row(name, *cells)
    result.add_row("checksum", *(run.found["checksum"][:12] for run in runs))
    result.add_section()
    result.add_row("identical results", "", "yes" if on_os_threads.found == on_weft.found else "NO")
    return result


def print_conditions(console: Console, options: argparse.Namespace, found: dict[str, Any]) -> None:
    biggest = ", ".join(f"{path} ({lines:,} lines)" for path, lines in found["biggest"])
    console.print(f"The biggest modules: {biggest}.")
    console.print(
        f"CPython {platform.python_version()} on {os.cpu_count()} processors; at most "
        f"{options.threads} pages in flight, each answered after {options.latency:g} ms; "
        "server and crawler in one process.",
        style="dim",
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run crawl.py on OS threads and on weft.")
    parser.add_argument("--threads", type=int, default=500, help="most pages in flight")
    parser.add_argument("--latency", type=float, default=200, metavar="MS", help="of each answer")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(sysconfig.get_path("stdlib")),
        help="folder to serve (default: the standard library of this Python)",
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    crawl_options = ["--threads", str(options.threads), "--latency", str(options.latency)]
    crawl_options += ["--root", str(options.root)]
    warm_up(options.root)
    console = Console()
    runs = []
    columns = (TextColumn("{task.description:<15}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TextColumn("pages"), TimeElapsedColumn(), console=console) as bar:
            for name, flags in (("on OS threads", ["--os-threads"]), ("on weft", [])):
                task = bar.add_task(name, total=None)

                def advance(done: int, known: int, task: Any = task) -> None:
                    bar.update(task, completed=done, total=known)

                runs.append(run_crawl(flags, crawl_options, advance))
    except RunFailedError as failure:
        console.print(f"The run failed:\n{failure}", highlight=False, markup=False)
        return 1
    on_os_threads, on_weft = runs
    console.print(table(on_os_threads, on_weft))
    print_conditions(console, options, on_weft.found)
    return 0 if on_os_threads.found == on_weft.found else 1


if __name__ == "__main__":
    sys.exit(main())
