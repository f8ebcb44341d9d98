"""Recursion that is too deep ends as RecursionError or in words, never in silence or a hang."""

import os
import re
import signal
import subprocess
import sys

import pytest
from support import run_program

import weft

MAP = "def recurse(n=0):\n    return list(map(recurse, [n]))\n"
SORTED = "def recurse(n=0):\n    return sorted([n], key=recurse)\n"
PLAIN = "def recurse(n=0):\n    return recurse(n)\n"
REPR = """
class Nested:
    def __repr__(self):
        return repr([self.inner])
def recurse(n=0):
    nested = Nested()
    nested.inner = nested
    return repr(nested)
"""
COMPILE = "def recurse(n=0):\n    return compile('-' * 100_000 + '1', '', 'eval')\n"
JSON = """
import json
def recurse(n=0):
    return json.loads('[' * 100_000)
"""
REGEX = """
import os
import re
def recurse(n=0):
    return re.sub("x", lambda match: recurse(), "x")
"""
PICKLE = """
import pickle
def recurse(n=0):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return pickle.dumps(nested)
"""
KINDS = {
    "plain": PLAIN,
    "map": MAP,
    "sorted": SORTED,
    "repr": REPR,
    "compile": COMPILE,
    "json": JSON,
    "regex": REGEX,
    "pickle": PICKLE,
}

RUN = """
def tell(*args):
    try:
        recurse()
    except (RecursionError, MemoryError) as error:
        print(type(error).__name__)
    else:
        print("no error")
def parked():
    weft.sleep(0.01)
    return "the others live"
{install}
other = weft.spawn(parked)
{start}
print(other.result())
"""
SMALL_KIB = [kib for kib in (64, 128, 256) if kib << 10 >= os.sysconf("SC_THREAD_STACK_MIN")]
SPAWN = "weft.spawn(tell).join()"
THREAD = "thread = threading.Thread(target=tell); thread.start(); thread.join()"


def recursion(kind, *, size=0, thread=False):
    """A program in which a green thread recurses without end."""
    return (
        KINDS[kind]
        + f"threading.stack_size({size})\n"
        + RUN.format(install="weft.install()" * thread, start=THREAD if thread else SPAWN)
    )


def ends_well(seen):
    return seen.status == 0 and seen.output in (
        "RecursionError\nthe others live\n",
        "MemoryError\nthe others live\n",
    )


def ends_in_words(seen, kib):
    words = re.search(r"overflowed its stack of (\d+) KiB, \d+ Python calls deep", seen.errors)
    return (
        seen.status == -signal.SIGSEGV
        and words is not None
        and int(words[1]) >= kib
        and "threading.stack_size" in seen.errors
    )


@pytest.mark.parametrize("thread", [False, True], ids=["spawn", "thread"])
@pytest.mark.parametrize("kind", KINDS)
def test_with_the_default_stack_recursion_ends_as_an_exception(kind, thread):
    seen = run_program(recursion(kind, thread=thread), faulthandler=False)
    assert ends_well(seen), seen


@pytest.mark.parametrize("thread", [False, True], ids=["spawn", "thread"])
@pytest.mark.parametrize("size_kib", [*SMALL_KIB, 1024])
@pytest.mark.parametrize("kind", KINDS)
def test_on_small_stacks_it_ends_as_an_exception_or_in_words(kind, size_kib, thread):
    seen = run_program(recursion(kind, size=size_kib << 10, thread=thread), faulthandler=False)
    assert ends_well(seen) or ends_in_words(seen, size_kib), seen


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 counts recursion in C")
@pytest.mark.parametrize("thread", [False, True], ids=["spawn", "thread"])
@pytest.mark.parametrize("size_kib", SMALL_KIB)
def test_on_3_11_c_recursion_on_a_small_stack_is_told_in_words(size_kib, thread):
    seen = run_program(recursion("map", size=size_kib << 10, thread=thread), faulthandler=False)
    assert ends_in_words(seen, size_kib), seen
    assert seen.output == ""


DEEP = """
int deep(int depth)
{
    volatile char frame[4096] = {0};
    return depth == 0 ? frame[0] : deep(depth - 1) + frame[1];
}
"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Recursion of which the interpreter knows nothing: ctypes has to be told where this is."""
    folder = tmp_path_factory.mktemp("deep")
    (folder / "deep.c").write_text(DEEP)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O0", "-o", folder / "deep.so", folder / "deep.c"], check=True
    )
    return f"import ctypes\ndeep = ctypes.CDLL({str(folder / 'deep.so')!r}).deep\n"


NAMED = """
def inner():
    deep(1_000_000)
def run():
    print(threading.get_ident(), flush=True)
    inner()
"""
STACK = r"""
  File "<string>", line \d+, in inner
  File "<string>", line \d+, in run
"""


def test_the_words_say_who_and_where(deep):
    seen = run_program(deep + NAMED + "weft.spawn(run).join()\n", faulthandler=False)
    assert seen.status == -signal.SIGSEGV
    who = rf"weft: green-1 \(run\) with ident {seen.output.strip()} overflowed its stack of \d+ KiB"
    assert re.match(who + ", 2 Python calls deep, the innermost first:" + STACK, seen.errors), seen


def test_threads_of_threading_are_told_by_their_identity(deep):
    start = "weft.install()\nthread = threading.Thread(target=run)\nthread.start()\nthread.join()\n"
    seen = run_program(deep + NAMED + start, faulthandler=False)
    assert f"weft: the green thread with ident {seen.output.strip()} overflowed" in seen.errors


def test_names_that_were_given_are_used(deep):
    named = NAMED.replace(
        "    inner()\n", "    weft.current().name = 'Größe \u4e2d'\n    inner()\n"
    )
    seen = run_program(deep + named + "weft.spawn(run).join()\n", faulthandler=False)
    assert r"weft: Gr\xf6\xdfe \u4e2d with ident" in seen.errors


def test_so_do_they_when_another_os_thread_carries_it(deep):
    policy = (
        "gate = threading.Event()\nweft.spawn(gate.wait)\nweft.set_policy('_ctypes.*', 'offload')\n"
    )
    seen = run_program(deep + policy + NAMED + "weft.spawn(run).join()\n", faulthandler=False)
    assert seen.status == -signal.SIGSEGV
    assert "weft: green-2 (run) with ident" in seen.errors


def test_of_a_deep_stack_the_middle_is_left_out(deep):
    nested = "def nest(n):\n    return nest(n - 1) if n else deep(1_000_000)\n"
    seen = run_program(deep + nested + "weft.spawn(nest, 200).join()\n", faulthandler=False)
    assert "201 Python calls deep" in seen.errors
    assert "... and 185 calls in between ..." in seen.errors


def test_faulthandler_tells_as_well():
    program = MAP + "threading.stack_size(128 << 10)\nsys.setrecursionlimit(10**6)\n"
    seen = run_program(program + "weft.spawn(recurse).join()\n", faulthandler=True)
    if seen.status == -signal.SIGSEGV:
        assert "overflowed its stack" in seen.errors
        assert "Fatal Python error: Segmentation fault" in seen.errors
    else:
        assert "RecursionError" in seen.errors


def test_other_crashes_are_not_blamed_on_the_stack():
    program = "import ctypes\nweft.spawn(ctypes.string_at, 8).join()\n"
    seen = run_program(program, faulthandler=False)
    assert seen.status == -signal.SIGSEGV
    assert "overflowed" not in seen.errors


def test_recursion_on_the_main_stack_is_none_of_our_business():
    program = (
        PLAIN
        + "weft.spawn(int).join()\ntry:\n    recurse()\nexcept RecursionError:\n    print('fine')"
    )
    assert run_program(program) == (0, "fine\n", "")


def test_the_first_thousand_have_large_stacks_and_the_rest_small_ones():
    """Recursion in C that fits into 256 KiB, where stacks are that and where they are 8 MiB."""
    program = """
def nest(depth):
    return depth if depth == 0 else next(map(nest, [depth - 1])) + 1
gate = threading.Event()
crowd = [weft.spawn(gate.wait) for _ in range(1030)]
weft.sleep(0)
def shallow():
    return nest(60)
print(weft.spawn(shallow).result())
gate.set()
for thread in crowd:
    thread.join()
print(weft.spawn(nest, 80).result())
"""
    assert run_program(program) == (0, "60\n80\n", "")


def test_the_limit_of_python_holds_inside_as_outside():
    assert weft.spawn(sys.getrecursionlimit).result() == sys.getrecursionlimit()
