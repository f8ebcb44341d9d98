"""Greenlets inside green threads, with the real greenlet; and what gives each its own of them."""

import asyncio
import platform
import shlex
import subprocess
import sysconfig
import threading
import time
from pathlib import Path

import pytest
from support import results, run_program, spawn_each, together

import weft

greenlet = pytest.importorskip("greenlet", reason="greenlet is not installed")

CROWD = 8
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
SOURCE = Path(__file__).with_name("thread_locals.c")
SLOTS = 1 if platform.machine() == "x86_64" else 2  # its call, or a descriptor for each variable


# --- greenlet itself ---------------------------------------------------------------------


def generate(count):
    """Hands the numbers below `count` to its parent one by one, waiting in between."""
    for number in range(count):
        time.sleep(0.0001)
        greenlet.getcurrent().parent.switch(number)
    return "done"


def collect(count):
    generator = greenlet.greenlet(generate)
    collected = [generator.switch(count)]
    while not generator.dead:
        time.sleep(0.0001)
        collected.append(generator.switch())
    return collected


def test_each_green_thread_has_greenlets_of_its_own():
    assert results(spawn_each(collect, [5] * CROWD)) == [[0, 1, 2, 3, 4, "done"]] * CROWD


def test_the_same_where_threading_is_green(installed):
    collected = []
    threads = [threading.Thread(target=lambda: collected.append(collect(3))) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collected == [[0, 1, 2, "done"]] * CROWD


def test_greenlets_of_the_root_beside_green_threads():
    sleeper = weft.spawn(time.sleep, 0.005)
    assert collect(3) == [0, 1, 2, "done"]
    sleeper.result()


def test_another_green_thread_is_another_thread():
    mine = greenlet.greenlet(generate)
    mine.switch(2)

    def intrude():
        with pytest.raises(greenlet.error, match="different thread"):
            mine.switch()

    weft.spawn(intrude).result()
    assert mine.switch() == 1


def test_a_greenlet_keeps_context_variables_and_exceptions_apart():
    def fail():
        try:
            raise ValueError
        except ValueError:
            return greenlet.getcurrent().parent.switch("failing")

    def catch():
        failing = greenlet.greenlet(fail)
        try:
            raise KeyError
        except KeyError as error:
            seen = failing.switch()
            weft.yield_now()
            assert failing.switch("over") == "over"
            return seen, type(error)

    assert together(catch, catch) == [("failing", KeyError)] * 2


def test_suspended_greenlets_outlive_their_green_thread():
    kept = []

    def leave():
        kept.append(greenlet.greenlet(generate))
        kept[-1].switch(2)

    together(leave, leave)
    for left in kept:
        with pytest.raises(greenlet.error):
            left.switch()
    kept.clear()
    assert collect(1) == [0, "done"]


def test_a_loop_that_awaits_in_greenlets_as_sqlalchemy_does():
    async def answer(number):
        await asyncio.sleep(0.0005)
        return number

    def synchronous():
        return sum(greenlet.getcurrent().parent.switch(answer(number)) for number in range(4))

    async def drive():
        child = greenlet.greenlet(synchronous)
        awaited = child.switch()
        while not child.dead:
            awaited = child.switch(await awaited)
        return awaited

    assert together(*[lambda: asyncio.run(drive())] * CROWD) == [6] * CROWD


def test_imported_first_inside_a_green_thread():
    seen = run_program(
        "def use():\n"
        "    import greenlet\n"
        "    def run(): time.sleep(0.001); return greenlet.getcurrent().parent.switch(1)\n"
        "    child = greenlet.greenlet(run)\n"
        "    return child.switch(), child.switch(2)\n"
        "threads = [weft.spawn(use) for _ in range(4)]\n"
        "print([thread.result() for thread in threads])\n"
    )
    assert seen == (0, f"{[(1, 2)] * 4}\n", "")


# --- Thread-local variables, one set for each green thread ---------------------------------


def compile_module(target, *flags):
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    include = f"-I{sysconfig.get_paths()['include']}"
    command = [*compiler, "-shared", "-fPIC", "-O2", *flags, include, SOURCE, "-o", target]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Makes a package that looks like greenlet, compiled with a flag, and one that imports it."""

    def make(flag):
        folder = tmp_path_factory.mktemp("packages")
        (folder / "greenlet").mkdir()
        (folder / "greenlet" / "__init__.py").write_text("from greenlet._greenlet import *\n")
        (folder / "user.py").write_text("import greenlet\n")
        compile_module(folder / "greenlet" / f"_greenlet{SUFFIX}", flag)
        return f"sys.path.insert(0, {str(folder)!r})\n"

    return make


@pytest.fixture(
    scope="module", params=["gnu"] if platform.machine() == "x86_64" else ["trad", "desc"]
)
def kept_apart(package, request):
    """With each way to find them that weft answers for: by a call, and by descriptors."""
    return package(f"-mtls-dialect={request.param}")


@pytest.fixture(scope="module")
def hidden(package):
    return package("-ftls-model=initial-exec")


def test_variables_begin_as_in_a_new_thread(kept_apart):
    seen = run_program(
        kept_apart + "import greenlet\n"
        "greenlet.next()\n"
        "def use(): greenlet.next(); weft.yield_now(); return greenlet.next()\n"
        "threads = [weft.spawn(use) for _ in range(2)]\n"
        "print([thread.result() for thread in threads], greenlet.next())\n"
    )
    assert seen == (0, "[(102, 2), (102, 2)] (102, 2)\n", "")


def test_their_destructors_run_at_the_end_of_the_green_thread(kept_apart):
    seen = run_program(
        kept_apart + "import greenlet\n"
        "def use(): greenlet.next(); greenlet.at_end(); greenlet.at_end(); weft.yield_now()\n"
        "thread = weft.spawn(use)\n"
        "weft.yield_now()\n"
        "print(greenlet.ended())\n"
        "thread.result()\n"
        "weft.yield_now()\n"
        "print(greenlet.ended())\n"
    )
    assert seen == (0, "0\n2\n", "")


def test_a_build_that_hides_them_is_refused_by_spawn(hidden):
    seen = run_program(
        hidden + "import user\n"
        "try: weft.spawn(print, 'ran')\n"
        "except RuntimeError as error: print(error)\n"
    )
    assert seen.status == 0
    assert "_greenlet" in seen.output
    assert "cannot be used with weft" in seen.output


def test_a_build_that_hides_them_is_refused_by_import(hidden):
    seen = run_program(
        hidden + "weft.spawn(time.sleep, 0).result()\n"
        "try: import user\n"
        "except ImportError as error: print(error)\n"
        "print('user' in sys.modules)\n"
    )
    assert seen.status == 0
    assert "cannot be used with weft" in seen.output
    assert seen.output.endswith("False\n")


def test_no_other_policy_can_be_set_for_greenlet(kept_apart):
    seen = run_program(
        kept_apart + "weft.set_policy('*', 'park')\n"
        "weft.set_policy('_greenlet.*', 'exclude')\n"
        "import greenlet\n"
        "print([weft.spawn(greenlet.next).result() for _ in range(2)])\n"
    )
    assert seen == (0, "[(101, 1), (101, 1)]\n", "")


def test_a_policy_gives_them_to_any_library(tmp_path):
    compile_module(tmp_path / f"remembering{SUFFIX}")
    seen = run_program(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import remembering\n"
        "def use(): return [weft.spawn(remembering.next).result() for _ in range(2)]\n"
        "print(use())\n"
        "weft.set_policy('remembering.*', 'own-thread-locals')\n"
        "print(use(), weft.statistics().hooked_slots)\n"
        "weft.set_policy('remembering.*', 'park')\n"
        f"print(use(), weft.statistics().hooked_slots + {SLOTS})\n"
    )
    before, kept, after = seen.output.splitlines()
    assert before == "[(101, 1), (102, 2)]"
    assert kept.startswith("[(101, 1), (101, 1)] ")
    assert after == kept.replace("[(101, 1), (101, 1)]", "[(103, 3), (104, 4)]")


def test_a_policy_that_a_library_cannot_have(tmp_path):
    compile_module(tmp_path / f"remembering{SUFFIX}", "-ftls-model=initial-exec")
    seen = run_program(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import remembering\n"
        "weft.spawn(int).result()\n"
        "try: weft.set_policy('remembering.*', 'own-thread-locals')\n"
        "except RuntimeError as error: print(error)\n"
        "weft.set_policy('remembering.*', 'park')\n"
        "print(weft.spawn(int).result())\n"
    )
    assert seen.status == 0
    assert seen.output.startswith("remembering")
    assert seen.output.endswith("install another build of it\n0\n")
