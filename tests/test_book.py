"""The book's programs do what the book says, and its listings are the machine code beside them."""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BOOK = Path(__file__).parent.parent / "docs" / "book"
STEPS = BOOK / "steps"
GREEN_THREADS = BOOK / "green_threads.py"

TAKING_TURNS = "9f689feaa70ff982aded0d78a0e84580"  # the md5 of what the program that counts prints
NESTED = """\
I haven't implemented a timer in this example.
But we can still nest tasks...
THREAD 2 FINISHED.
...like this!
THREAD 3 FINISHED.
Finally, notice how the tasks are executed concurrently.
THREAD 1 FINISHED.
"""

step = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.version_info >= (3, 14),
    reason="the steps are x86-64 code, and do not tell the interpreter where their stacks end",
)


def run(*command, **options):
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=60, **options
    )


def output(*command):
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_with_green_threads(source):
    """Runs a program that starts with `from green_threads import *`, for what may crash."""
    program = "from green_threads import *\n" + textwrap.dedent(source)
    return run("-c", program, env=os.environ | {"PYTHONPATH": str(BOOK)})


def check(source):
    done = run_with_green_threads(source)
    assert done.returncode == 0, done.stderr


# --- The steps --------------------------------------------------------------------------------


@step
def test_a_bare_swap_wakes_up_elsewhere_and_never_returns():
    assert output(STEPS / "10_bare_swap.py") == "Leaving.\nI love waking up on a new stack!\n"


@step
def test_the_stack_is_zero_before_and_holds_return_addresses_after():
    before, hello, after = re.split(
        r"(Hello from another stack!\n)", output(STEPS / "20_show_the_stack.py")
    )
    assert hello
    assert re.findall(r"top - 8 +([0 ]+)$", before, re.MULTILINE)
    assert not re.search("[1-9a-f]", re.sub("(?m)^---.*|^top - [0-9]+", "", before))
    assert re.search(r"top - 8 .* code of ours, after call rsi$", after, re.MULTILINE)
    assert "code of libffi" in after
    assert re.search(r"went [\d,]+ bytes deep", after)


@step
def test_an_interpreter_that_is_not_told_takes_two_stacks_for_one():
    lines = output(STEPS / "30_there_and_back.py").splitlines()
    assert lines[1].endswith("Calls: other < go_there < main < <module>")
    assert lines[3:] == ["there: and again.", "here:  and again."]


@step
def test_the_runtime_takes_turns():
    assert md5(output(STEPS / "40_runtime.py")) == TAKING_TURNS


@step
def test_the_runtime_cannot_go_on_after_an_error():
    # With an exception left over anything may happen: for one hash in thirty nothing, on 3.12.
    always_the_same = os.environ | {"PYTHONHASHSEED": "0"}
    done = run(STEPS / "40_runtime.py", "trouble", preexec_fn=no_core_dump, env=always_the_same)
    assert done.returncode == -signal.SIGILL


@step
def test_closures_spawn_from_inside_a_thread():
    assert output(STEPS / "50_closures.py") == NESTED


@step
def test_closures_outlive_an_error():
    done = run(STEPS / "50_closures.py", "trouble")
    assert done.returncode == 0
    assert done.stdout == "dividing by zero\nTHREAD 1 FINISHED.\n"
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@step
def test_windows_wants_more_saved():
    lines = output(STEPS / "60_windows_context.py").splitlines()
    assert "    0x030  in all: 48 bytes, and the address to return to" in lines
    assert "    0x100  in all: 256 bytes, and the address to return to" in lines
    assert lines[-2].endswith("System V's rules:  0xbad")
    assert lines[-1].endswith("Windows' rules:    0x600d")


@step
def test_an_overflow_writes_into_the_next_stack():
    printed = output(STEPS / "70_overflow.py")
    assert int(re.search(r"lower one: ([\d,]+)", printed)[1].replace(",", "")) > 1000


@step
@pytest.mark.parametrize("name", ["stack_bytes", "timeline", "memory_pages"])
def test_pictures_can_be_drawn_again(name, tmp_path):
    output(BOOK / "pictures" / f"{name}.py", tmp_path / "picture.svg")
    drawn = ET.parse(tmp_path / "picture.svg").getroot()
    assert drawn.tag.endswith("svg")
    assert len(drawn) > 10


def no_core_dump():
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# --- green_threads.py ---------------------------------------------------------------------------


def test_green_threads_take_turns():
    assert md5(output(GREEN_THREADS)) == TAKING_TURNS


def test_green_threads_nest():
    assert output(GREEN_THREADS, "nested") == NESTED


def test_green_threads_are_at_most_two_hundred_lines():
    lines = GREEN_THREADS.read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith("#")]) <= 200


def test_a_slot_is_used_again():
    check("""
        runtime, seen = Runtime(slots=1), []
        for i in range(100):
            runtime.spawn(lambda: seen.append(i))
            runtime.run()
        assert seen == list(range(100))
    """)


def test_no_slot_is_an_error():
    check("""
        runtime = Runtime(slots=1)
        runtime.spawn(print)
        try:
            runtime.spawn(print)
        except RuntimeError as error:
            assert str(error) == "no available thread"
        else:
            raise AssertionError
    """)


def test_any_number_of_threads():
    check("""
        runtime, turns = Runtime(slots=2000), []
        def task():
            for _ in range(3):
                turns.append(runtime.current)
                yield_thread()
        for _ in range(2000):
            runtime.spawn(task)
        runtime.run()
        assert turns == [*range(1, 2001)] * 3
    """)


def test_each_thread_handles_its_own_exception():
    check("""
        def handle(name):
            try:
                raise KeyError(name)
            except KeyError:
                for _ in range(3):
                    yield_thread()
                    assert sys.exc_info()[1].args == (name,)
            assert sys.exc_info() == (None, None, None)
            done.append(name)
        runtime, done = Runtime(), []
        for name in "abc":
            runtime.spawn(lambda name=name: handle(name))
        runtime.run()
        assert done == ["a", "b", "c"]
    """)


def test_each_thread_has_thread_locals_and_a_chain_of_calls_of_its_own():
    check("""
        import threading
        mine = threading.local()
        def task():
            assert not hasattr(mine, "name")
            mine.name = runtime.current
            yield_thread()
            assert mine.name == runtime.current
            frame, names = sys._getframe(), []
            while frame:
                names.append(frame.f_code.co_name)
                frame = frame.f_back
            assert names == ["task", "body"], names
            done.append(mine.name)
        runtime, done = Runtime(), []
        runtime.spawn(task)
        runtime.spawn(task)
        runtime.run()
        assert done == [1, 2]
    """)


def test_an_error_ends_only_its_thread():
    done = run_with_green_threads("""
        runtime = Runtime()
        runtime.spawn(lambda: 1 / 0)
        runtime.spawn(lambda: print("the other one"))
        runtime.run()
    """)
    assert done.returncode == 0
    assert done.stdout == "the other one\n"
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_recursion_ends_in_an_exception():
    check("""
        def deep():
            deep()
        def task():
            try:
                deep()
            except RecursionError:
                done.append(True)
        runtime, done = Runtime(), []
        runtime.spawn(task)
        runtime.run()
        assert done
    """)


def test_os_threads_and_the_collector_go_on_beside_them():
    check("""
        import gc, threading
        def spin():
            while not done.is_set():
                sum(range(100))
        done = threading.Event()
        spinning = [threading.Thread(target=spin) for _ in range(2)]
        for thread in spinning:
            thread.start()
        def task():
            kept = [[]]
            for _ in range(10):
                kept = [kept]
                yield_thread()
            gc.collect()
        runtime = Runtime(slots=20)
        for _ in range(20):
            runtime.spawn(task)
        runtime.run()
        done.set()
        for thread in spinning:
            thread.join()
    """)


# --- The listings ---------------------------------------------------------------------------------

LISTING = re.compile(r'^([A-Z]+)(?:_(\w+))? = """\n(.*?)"""', re.MULTILINE | re.DOTALL)
LINE = re.compile(r"    ((?:[0-9a-f]{2} )+) +(.*?)(?:  .*)?")
SYNTAX = {"X86_64": ".intel_syntax noprefix\n", "AARCH64": ""}
LISTINGS = [
    ("green_threads.py", "X86_64"),
    ("green_threads.py", "AARCH64"),
    ("steps/40_runtime.py", "X86_64"),
    ("steps/50_closures.py", "X86_64"),
    ("steps/60_windows_context.py", "X86_64"),
]


def listed(program, machine):
    """All listings of a program for one machine: the bytes, and what they are said to be."""
    code, source = b"", ""
    for name, its_machine, text in LISTING.findall((BOOK / program).read_text()):
        if (its_machine or "X86_64") == machine:
            source += f"{name.lower()}:\n"
            for line in text.splitlines():
                listed_bytes, instructions = LINE.fullmatch(line).groups()
                code += bytes.fromhex(listed_bytes)
                source += f"{instructions}\n"
    return code, source


def assembled(machine, source, folder):
    prefix = "" if platform.machine().upper() == machine else f"{machine.lower()}-linux-gnu-"
    assembler, objcopy = f"{prefix}as", f"{prefix}objcopy"
    for tool in assembler, objcopy:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    (folder / "code.s").write_text(SYNTAX[machine] + source)
    subprocess.run([assembler, "code.s", "-o", "code.o"], cwd=folder, check=True)
    subprocess.run(
        [objcopy, "-O", "binary", "-j", ".text", "code.o", "code"], cwd=folder, check=True
    )
    return (folder / "code").read_bytes()


@pytest.mark.parametrize(("program", "machine"), LISTINGS)
def test_the_bytes_are_the_instructions_beside_them(program, machine, tmp_path):
    code, source = listed(program, machine)
    assert code
    made = assembled(machine, source, tmp_path)
    assert made[: len(code)] == code
    assert not any(made[len(code) :])  # what pads the section
