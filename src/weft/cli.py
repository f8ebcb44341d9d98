"""The command: `weft run app.py` runs an unmodified threaded program on green threads.

The promise: the program cannot tell `weft run app.py` from `python app.py`, and neither can
whoever looks at its output and exit status.  Three things keep it:

- *A `__main__` of its own.*  The program gets a fresh module under that name, with the
  `sys.argv` and `sys.path[0]` Python would have given it, so that pickling and
  `multiprocessing` find the program's functions and not ours.
- *The interpreter's own machinery.*  Modules, folders and zip files go through
  `runpy._run_module_as_main`, which is what `python -m` calls; messages and tracebacks are
  therefore the same to the byte.
- *The interpreter decides how the process ends.*  An uncaught exception travels on through
  this file to where Python's own main function turns it into an exit status (`SystemExit`
  codes, death by SIGINT).  On the way only one thing is done: `sys.excepthook` is wrapped
  so that our frames are taken off the traceback before anybody sees it.

Rejected: printing the traceback here and exiting with 1.  It would have to repeat what
the interpreter does for `SystemExit`, `KeyboardInterrupt` and hooks that fail.
"""

import argparse
import builtins
import importlib.machinery
import io
import os
import pkgutil
import runpy
import signal
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from weft import _core, _seed
from weft._deadlock import detect_deadlocks
from weft._dump import dump_on
from weft._stalls import warn_stalls
from weft.report import Reporter

if TYPE_CHECKING:
    from typing import TypeAlias

    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

ExceptHook = Callable[[type[BaseException], BaseException, types.TracebackType | None], object]


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (by default the process's) and return its exit status."""
    parser, usage_error = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if options.command == "doctor":
        # Only now: `weft run` shall not import for its program what the program does not.
        from weft import doctor  # noqa: PLC0415

        return doctor.main(module=options.module, verbose=options.verbose, as_json=options.json)
    program: list[str] = options.program
    if program[:1] == ["--"]:
        del program[0]
    if not program:
        usage_error(options.command, "no module given" if options.module else "no script given")
    if options.command == "explore":
        from weft import explore  # noqa: PLC0415 - as above

        return explore.main(options, program)
    if options.os_threads and options.seed is not None:
        usage_error("run", "with --os-threads it is the kernel that chooses, not --seed")
    return _prepare_and_run(options, program)


def _prepare_and_run(options: argparse.Namespace, program: list[str]) -> int:
    if options.report or options.report_json:
        Reporter(
            os_threads=options.os_threads, to_stderr=options.report, json_path=options.report_json
        ).start()
    if options.warn_stall:
        warn_stalls(options.warn_stall)
    if not options.os_threads:
        _core.install()
        if options.dump_signal is not None:
            dump_on(options.dump_signal)
        detect_deadlocks(options.deadlocks)
    seed = options.seed
    if options.serve is not None:
        seed = _seed.serve(*options.serve)
        if seed is None:
            return 0
    sys.argv[:] = program
    if seed is not None:
        _seed.begin(seed, real_time=options.real_time)
    _run(partial(_run_module if options.module else _run_path, program[0]))
    return 0


def _parser() -> tuple[argparse.ArgumentParser, Callable[[str, str], NoReturn]]:
    """The parser, and what to call with a command and what is wrong with its arguments."""
    parser = argparse.ArgumentParser(
        prog="weft", description="Green threads for Python.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    of_program = {"run": _add_run(commands), "explore": _add_explore(commands)}
    _add_doctor(commands)
    return parser, lambda command, message: of_program[command].error(message)


def _add_run(commands: "_Commands") -> argparse.ArgumentParser:
    run = commands.add_parser(
        "run",
        help="run an unmodified program on green threads",
        description="Run an unmodified program; every threading.Thread in it is a green thread.",
        usage="weft run [options] (script.py | folder | file.zip | -m module) [arguments ...]",
        allow_abbrev=False,
    )
    run.add_argument(
        "--os-threads", action="store_true", help="leave its threads as they are, for comparison"
    )
    run.add_argument(
        "--warn-stall",
        metavar="TIME",
        type=_seconds,
        help="say on standard error who keeps the others waiting for so long: 100ms, 0.5s",
    )
    run.add_argument(
        "--report", action="store_true", help="at exit, say on standard error what it took"
    )
    run.add_argument(
        "--report-json", metavar="FILE", help="at exit, write what it took to FILE, as JSON"
    )
    run.add_argument(
        "--dump-signal",
        metavar="NAME",
        type=_signal,
        default="SIGQUIT",
        help="write all green threads to standard error on this signal (SIGQUIT), or on none",
    )
    run.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="let this number decide who runs when, in virtual time: the same each time",
    )
    run.add_argument("--serve", type=_descriptors, help=argparse.SUPPRESS)  # for weft explore
    _add_of_program(run)
    return run


def _add_explore(commands: "_Commands") -> argparse.ArgumentParser:
    explore = commands.add_parser(
        "explore",
        help="run a program under many seeds and report the first that fails",
        description="Run a program under many seeds and report the first that fails: exit status "
        "not 0, an exception in a thread, a deadlock, too long.  "
        "Exit status: 0 none failed, 1 one did, 2 wrong usage.",
        usage="weft explore [options] (script.py | folder | file.zip | -m module) [arguments ...]",
        allow_abbrev=False,
    )
    explore.add_argument("--runs", metavar="N", type=_count, default=1000, help="how many (1000)")
    explore.add_argument(
        "--first", metavar="SEED", type=int, default=0, help="the seed to begin with (0)"
    )
    explore.add_argument(
        "--timeout",
        metavar="TIME",
        type=_seconds,
        default=10.0,
        help="how long one run may take, really (10s)",
    )
    explore.add_argument(
        "--jobs",
        metavar="N",
        type=_count,
        default=os.cpu_count() or 1,
        help="how many at a time (as many as there are processors)",
    )
    _add_of_program(explore)
    return explore


def _add_of_program(command: argparse.ArgumentParser) -> None:
    """What a program is, and what decides how it goes."""
    command.add_argument(
        "-m", dest="module", action="store_true", help="run a module, as python -m does"
    )
    command.add_argument(
        "--real-time", action="store_true", help="with a seed, leave time as it is"
    )
    command.add_argument(
        "--deadlocks",
        choices=("certain", "likely", "never"),
        default="certain",
        help="when to raise weft.Deadlock in the main thread (certain)",
    )
    # REMAINDER: what follows the program's name is the program's, options included.
    command.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _signal(name: str) -> signal.Signals | None:
    if name == "none":
        return None
    try:
        return signal.Signals[name.upper()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"no signal is called {name!r}") from None


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)  # which argparse words
    return number


def _descriptors(text: str) -> tuple[int, int]:
    commands, replies = map(int, text.split(","))
    return commands, replies


def _add_doctor(commands: "_Commands") -> None:
    command = commands.add_parser(
        "doctor",
        help="say whether all is well with weft on this machine",
        description="Say whether all is well.  Exit status: 0 it is, 1 there is a problem, "
        "2 the module could not be imported.",
        allow_abbrev=False,
    )
    command.add_argument(
        "-m", dest="module", metavar="MODULE", help="import this first, and judge what it brings in"
    )
    command.add_argument("-v", "--verbose", action="store_true", help="list what is hooked where")
    command.add_argument("--json", action="store_true", help="the same as JSON")


def _seconds(text: str) -> float:
    """What `100ms`, `0.5s` and `0.5` mean."""
    seconds = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    if not 0 < seconds < float("inf"):
        raise ValueError(text)  # which argparse words
    return seconds


# --- The program's surroundings --------------------------------------------------------


def _run_path(path: str) -> None:
    """Run what `python path` would: a source or compiled file, or a folder or zip file."""
    absolute = _absolute(path)
    _fresh_main()
    if pkgutil.get_importer(absolute) is None:
        if not sys.flags.safe_path:
            sys.path[0] = os.path.dirname(os.path.realpath(path))
        _run_file(absolute)
        return
    # A folder or zip file comes first on the path even with -P; there is nothing to replace then.
    sys.path[: 0 if sys.flags.safe_path else 1] = [absolute]
    runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]


def _run_module(name: str) -> None:
    """Run what `python -m name` would."""
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    sys.argv[0] = "-m"  # until the module is found, as in `python -m`
    _fresh_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _run_file(path: str) -> None:
    try:
        code, loader = _load(path)
    except OSError as error:
        # The interpreter's own words; orig_argv[0] is the name it was called by.
        reason = f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}"
        print(f"{sys.orig_argv[0]}: {reason}", file=sys.stderr)
        raise SystemExit(2) from None
    namespace = vars(sys.modules["__main__"])
    namespace.update(__file__=path, __loader__=loader)
    if sys.version_info < (3, 15):
        namespace.update(__cached__=None)
    exec(code, namespace)  # noqa: S102 - this is what running a program is


def _load(path: str) -> tuple[types.CodeType, object]:
    """The program's code and the loader Python would show for it."""
    with io.open_code(path) as file:
        code = pkgutil.read_code(file)
        if code is not None:
            return code, importlib.machinery.SourcelessFileLoader("__main__", path)
        file.seek(0)
        source = file.read()
    # dont_inherit: this file's own __future__ imports, should it ever have any.
    code = compile(source, path, "exec", dont_inherit=True)
    return code, importlib.machinery.SourceFileLoader("__main__", path)


def _fresh_main() -> None:
    """Replace `__main__` by an empty module, as the interpreter finds it when it starts."""
    fresh = types.ModuleType("__main__")
    vars(fresh).update(__builtins__=builtins)
    if "__annotations__" in vars(sys.modules["__main__"]):  # until 3.13
        vars(fresh).update(__annotations__={})
    sys.modules["__main__"] = fresh


def _absolute(path: str) -> str:
    """The path as Python would show it: absolute, but not tidied up."""
    return os.getcwd() if path == "." else os.path.join(os.getcwd(), path)


# --- How it ends -------------------------------------------------------------------------


def _run(program: Callable[[], None]) -> None:
    """Call `program`; if it raises, see to it that the traceback is the program's alone."""
    try:
        program()
    except BaseException:
        if hasattr(sys, "excepthook"):  # a program may delete it; then our frames stay
            sys.excepthook = partial(_report_uncaught, sys.excepthook)
        raise


def _report_uncaught(
    hook: ExceptHook,
    kind: type[BaseException],
    exception: BaseException,
    traceback: types.TracebackType | None,
) -> None:
    """What `sys.excepthook` is while an uncaught exception leaves the program."""
    sys.excepthook = hook
    traceback = exception.__traceback__ = _program_part(traceback)
    try:
        hook(kind, exception, traceback)
    except BaseException as failure:
        # Python reports a failing hook, too, and will not know this frame either.
        failure.__traceback__ = failure.__traceback__ and failure.__traceback__.tb_next
        raise


def _program_part(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """What follows our frames; nothing, if the program never began (a syntax error)."""
    while traceback is not None and not _is_ours(traceback):
        traceback = traceback.tb_next
    while traceback is not None and _is_ours(traceback):
        traceback = traceback.tb_next
    return traceback


def _is_ours(traceback: types.TracebackType) -> bool:
    return traceback.tb_frame.f_globals is globals()
