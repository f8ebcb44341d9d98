"""The policy "offload": C code that has let go of the GIL goes on on another OS thread.

Regions are told by where they let go of the GIL, and carried if they last, or nobody knows.  ctypes
has one such place for all calls, so a test says first that it lasts.
"""

import bz2
import concurrent.futures
import ctypes
import errno
import hashlib
import lzma
import random
import threading
import time
import zlib

import pytest
from support import (
    NO_FORK_WARNING,
    PROMPT_SECONDS,
    SYS_GETTID,
    SYS_NANOSLEEP,
    SYS_READ,
    in_os_thread,
    results,
    run_program,
    spawn_each,
    together,
)

import weft

LIBRARIES = ("_bz2.*", "_ctypes.*", "_hashlib.*", "_lzma.*", "_sha2*.*", "zlib.*")
LONG_MS = 3

libc = ctypes.CDLL(None, use_errno=True)
DATA = random.Random(1).randbytes(1 << 20)


@pytest.fixture(autouse=True)
def offloaded(parked):
    """The policy; and a green thread, since without any nothing is carried."""
    for library in LIBRARIES:
        weft.set_policy(library, "offload")
    yield
    for library in LIBRARIES:
        weft.set_policy(library, "park")


zlib_is_a_library = pytest.mark.skipif(
    not hasattr(zlib, "__file__"), reason="zlib is built into this interpreter"
)


def nap(milliseconds):
    libc.syscall(SYS_NANOSLEEP, (ctypes.c_long * 2)(0, milliseconds * 1_000_000), None)


def lasting():
    """From now on ctypes' regions are expected to last, for the next twenty or so."""
    nap(LONG_MS)


def gettid():
    return libc.syscall(SYS_GETTID)


def carried():
    """Is a region carried, here and now?"""
    lasting()
    return gettid() != threading.get_native_id()


def during(fn):
    """How often a green thread got its turn while `fn` was running in another."""
    turns, over = [], []

    def count():
        while not over:
            turns.append(None)
            weft.sleep(0.001)

    counter = weft.spawn(count)
    weft.yield_now()
    turns.clear()
    weft.spawn(lambda: (fn(), over.append(None))).join()
    counter.join()
    return len(turns)


# --- Who is carried ------------------------------------------------------------------------


def test_a_region_that_lasts_is_carried():
    assert weft.spawn(carried).result()


def test_so_is_the_main_green_threads():
    assert carried()


def test_and_that_of_another_os_thread():
    def elsewhere():
        gate = threading.Event()
        green = weft.spawn(gate.wait)
        seen = carried()
        gate.set()
        green.join()
        return seen

    assert in_os_thread(elsewhere)()


def test_short_regions_are_not():
    for _ in range(100):
        gettid()
    assert gettid() == threading.get_native_id()


def test_nor_are_those_of_other_libraries():
    weft.set_policy("_ctypes.*", "park")
    assert not carried()


def test_nor_where_nobody_shall_run_meanwhile():
    with weft.no_preempt():
        assert not carried()


def test_after_a_region_the_green_thread_is_where_it_was():
    before = threading.get_native_id(), threading.get_ident()
    lasting()
    gettid()
    assert (threading.get_native_id(), threading.get_ident()) == before


def test_carriers_are_used_again():
    carried()
    _, alive, _ = weft._core._thread_counts()
    for _ in range(10):
        carried()
    assert weft._core._thread_counts()[1] == alive


# --- What it is good for -----------------------------------------------------------------------


def test_the_others_run_meanwhile():
    lasting()
    assert during(lambda: nap(100)) >= 10


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(lambda: zlib.compress(DATA * 4), id="zlib", marks=zlib_is_a_library),
        pytest.param(lambda: hashlib.sha256(DATA * 32).digest(), id="hashlib"),
        pytest.param(lambda: bz2.compress(DATA), id="bz2"),
        pytest.param(lambda: lzma.compress(DATA, preset=1), id="lzma"),
    ],
)
def test_results_are_right_and_others_run(compute):
    expected = compute()
    before = weft.statistics().offloads
    assert results(spawn_each(lambda _: compute(), range(4))) == [expected] * 4
    assert weft.statistics().offloads > before
    assert during(compute) >= 2


def test_numpy():
    """Values, floating-point flags, and calls from C to Python."""
    numpy = pytest.importorskip("numpy")
    library = "_multiarray_umath*"
    weft.set_policy(library, "offload")
    try:
        before = weft.statistics().offloads
        ones, said = numpy.ones(1 << 20), []
        sums = results(spawn_each(lambda _: float(numpy.exp(ones).sum()), range(4)))
        assert sums == [float(numpy.exp(ones).sum())] * 4
        for kind in (numpy.double, numpy.longdouble):
            with numpy.errstate(divide="raise"), pytest.raises(FloatingPointError):
                ones.astype(kind) / numpy.zeros(1 << 20, kind)
        with numpy.errstate(divide="call", call=lambda *_: said.append(threading.get_ident())):
            ones / numpy.zeros(1 << 20)
        assert said == [threading.get_ident()]
        assert weft.statistics().offloads > before
    finally:
        weft.set_policy(library, "park")


def test_two_nap_at_the_same_time():
    lasting()
    start = time.monotonic()
    together(lambda: nap(200), lambda: nap(200))
    assert time.monotonic() - start < 0.39


# --- What a region may do ----------------------------------------------------------------------


def test_errno_is_the_regions():
    lasting()
    assert libc.syscall(SYS_READ, -1, None, 0) == -1
    assert ctypes.get_errno() == errno.EBADF


def test_it_may_call_python():
    """... which happens on the green thread's own OS thread, as that green thread."""
    seen = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def compare(left, right):
        seen.append((threading.get_native_id(), threading.get_ident()))
        weft.yield_now()
        return 0

    lasting()
    libc.qsort((ctypes.c_int * 2)(2, 1), 2, 4, compare)
    assert seen == [(threading.get_native_id(), threading.get_ident())]


def test_it_may_wait_for_a_lock_of_cpythons():
    """All feed one compressor, which locks; who holds the lock is away while the others wait."""
    shared, parts = zlib.compressobj(), []
    results(spawn_each(lambda _: parts.append(shared.compress(DATA)), range(8)))
    size = sum(map(len, parts)) + len(shared.flush())
    assert size > 7 * len(DATA)  # random bytes do not shrink


def test_a_cancellation_waits_until_it_is_over():
    seen = []

    def work():
        nap(50)
        seen.append("over")
        weft.sleep(PROMPT_SECONDS)
        seen.append("not cancelled")

    lasting()
    before = weft.statistics().offloads
    thread = weft.spawn(work)
    while weft.statistics().offloads == before:
        weft.yield_now()
    thread.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        thread.result(PROMPT_SECONDS)
    assert seen == ["over"]


def test_exceptions_come_out():
    def broken():
        return zlib.decompress(zlib.compress(DATA)[:-5] + b"argh!")

    with pytest.raises(zlib.error):
        weft.spawn(broken).result()


def test_a_signal_waits_until_it_is_over():
    program = """
import ctypes
weft.set_policy("_ctypes.*", "offload")
libc = ctypes.CDLL(None)
def nap(ms):
    libc.syscall(SYS_NANOSLEEP, (ctypes.c_long * 2)(0, ms * 1_000_000), None)
over = threading.Event()
ticks = []
def tick():
    while not over.wait(0.001):
        ticks.append(None)
ticker = weft.spawn(tick)
signal.signal(signal.SIGALRM, lambda *_: print("handled"))
nap(5)
signal.setitimer(signal.ITIMER_REAL, 0.02)
nap(200)
print("over", len(ticks) > 20)
over.set()
"""
    assert run_program(program) == (0, "handled\nover True\n", "")


AWAY = """
import ctypes
weft.set_policy("_ctypes.*", "offload")
libc = ctypes.CDLL(None)
def nap(ms):
    libc.syscall(SYS_NANOSLEEP, (ctypes.c_long * 2)(0, ms * 1_000_000), None)
def away(ms):
    before = weft.statistics().offloads
    thread = weft.spawn(nap, ms)
    while weft.statistics().offloads == before:
        weft.yield_now()
    return thread
gate = threading.Event()
weft.spawn(gate.wait)
nap(5)
"""


def test_a_fork_while_somebody_is_away():
    program = (
        AWAY
        + """
thread = away(100)
if os.fork() == 0:
    gate.set()
    again = weft.spawn(nap, 5)
    nap(5)
    again.join()
    print("child", flush=True)
    os._exit(0)
thread.join()
os.wait()
print("parent")
gate.set()
"""
    )
    assert run_program(program, flags=NO_FORK_WARNING) == (0, "child\nparent\n", "")


def test_the_program_ends_after_who_is_away():
    program = (
        AWAY
        + """
begun = time.monotonic()
thread = away(100)
gate.set()
import atexit
atexit.register(lambda: print(thread.is_alive(), time.monotonic() - begun > 0.09))
"""
    )
    assert run_program(program) == (0, "False True\n", "")


def test_daemons_that_are_away_are_not_waited_for():
    program = (
        AWAY
        + """
weft.install()
gate.set()
before = weft.statistics().offloads
threading.Thread(target=nap, args=[60_000], daemon=True).start()
while weft.statistics().offloads == before:
    weft.yield_now()
print("over")
"""
    )
    assert run_program(program) == (0, "over\n", "")


def test_virtual_time_passes_while_somebody_is_away():
    program = (
        AWAY
        + """
weft._core._clock_start(0, 0)
thread = away(50)
time.sleep(0.02)
print(thread.is_alive())
thread.join()
weft._core._clock_stop()
gate.set()
"""
    )
    assert run_program(program) == (0, "True\n", "")


def test_nobody_is_carried_under_a_seed():
    program = (
        AWAY
        + """
weft._core.set_preemption(None)
weft._core._seed_start(1, frozenset())
before = weft.statistics().offloads
weft.spawn(nap, 5).join()
weft._core._seed_stop()
print(weft.statistics().offloads - before)
gate.set()
"""
    )
    assert run_program(program) == (0, "0\n", "")


def test_it_shows_in_a_dump():
    program = (
        AWAY
        + """
away(900)
weft.dump(sys.stdout)
sys.stdout.flush()
os._exit(0)
"""
    )
    seen = run_program(program)
    assert seen.status == 0
    assert "waiting for a call on an OS thread" in seen.output


def test_without_the_policy_nothing_is_hooked_but_the_way_back():
    weft.set_policy("_bz2.*", "park")
    (names,) = [names for path, _, _, names in weft._core._hooked_objects() if "/_bz2." in path]
    assert "PyEval_SaveThread" not in names
