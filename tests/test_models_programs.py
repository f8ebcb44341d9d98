"""The same program in each model prints, byte for byte, what the books say."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest

from weft.models.clock import VirtualClock

PROGRAMS = Path(__file__).parent.parent / "examples" / "models"


@pytest.fixture
def run(capsys):
    """Run a program's `main` and return what it prints."""

    def run_main(name, *args, **kwargs):
        spec = importlib.util.spec_from_file_location(f"model_{name}", PROGRAMS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        module.main(*args, **kwargs)
        return capsys.readouterr().out

    return run_main


def test_os_threads(run):
    assert run("threads", VirtualClock()).splitlines() == [
        "So we start the program here!",
        "While our tasks are executing we can do other stuff here.",
        "We can even chain callbacks...",
        "...like this!",
        "We create tasks which gets run when they're finished!",
    ]


def test_callbacks(run):
    assert run("callbacks", VirtualClock()).splitlines() == [
        "So we start the program here!",
        "While our tasks are executing we can do other stuff instead of waiting.",
        "We can even chain sub-tasks...",
        "...like this!",
        "We create tasks with a callback that runs once the task finished!",
    ]


@pytest.mark.parametrize("name", ["promises", "async_await"])
def test_three_waits_in_turn(run, name):
    clock = VirtualClock()
    assert run(name, clock) == "I'm the last one\n"
    assert clock.now() == pytest.approx(0.350)


def test_green_threads_take_turns(run):
    printed = run("green_turns")
    assert len(printed.splitlines()) == 29
    assert hashlib.md5(printed.encode()).hexdigest() == "9f689feaa70ff982aded0d78a0e84580"


def test_green_threads_nest(run):
    assert run("green_nested").splitlines() == [
        "I haven't implemented a timer in this example.",
        "But we can still nest tasks...",
        "THREAD 2 FINISHED.",
        "...like this!",
        "THREAD 3 FINISHED.",
        "Finally, notice how the tasks are executed concurrently.",
        "THREAD 1 FINISHED.",
    ]


def test_lazy_futures_in_turn(run):
    assert run("futures", VirtualClock()) == "Got 1 at time: 1.00.\nGot 2 at time: 3.00.\n"


def test_spawned_futures_side_by_side(run):
    printed = run("futures", VirtualClock(), spawn=True)
    assert printed == "Got 1 at time: 1.00.\nGot 2 at time: 2.00.\n"


def test_a_program_prints_the_same_every_time(run):
    assert len({run("threads", VirtualClock()) for _ in range(20)}) == 1


def test_node(run):
    printed = run("node", unit=0.05).splitlines()
    assert printed[:2] == ["First call", "Last call"]
    assert printed[-1] == "FINISHED"
    file_begins = (PROGRAMS / "node.py").read_text().splitlines()[0]
    assert sorted(printed[2:-1]) == [
        "Encrypted: 610",
        "Immediately",
        f"The file begins: {file_begins}",
        "The page says: Hello from afar",
        "Timer of 0 ms",
        "Timer of 300 ms",
    ]
    order = [line.split(" ")[0] for line in printed]
    assert printed.index("Timer of 0 ms") < printed.index("Timer of 300 ms")
    assert order.index("The") < order.index("Encrypted:")
