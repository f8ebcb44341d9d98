"""The pytest plugin, seen from outside: each test here runs pytest in a process of its own."""

import re
import sys

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester):
    def run(tests, *options):
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run


def test_without_an_option_nothing_of_weft_is_there(run):
    seen = run(
        """
        import sys
        def test_nothing():
            assert not [name for name in sys.modules if name.split(".")[0] == "weft"]
        """
    )
    seen.assert_outcomes(passed=1)


def test_tests_and_their_fixtures_run_in_a_green_thread(run):
    seen = run(
        """
        import threading
        import pytest, weft
        @pytest.fixture
        def fixture():
            yield weft.current()
            assert weft.current().name == "test_it"
        def test_it(fixture):
            assert weft.current() is fixture
            assert fixture.name == "test_it"
            assert fixture in weft.all_threads()
        def test_threads_are_green():
            here, seen = threading.get_native_id(), []
            thread = threading.Thread(target=lambda: seen.append(threading.get_native_id()))
            thread.start()
            thread.join()
            assert seen == [here] and not thread.daemon
        """,
        "--weft",
    )
    seen.assert_outcomes(passed=2)


def test_failures_are_those_of_the_test(run):
    seen = run(
        """
        import pytest
        def test_fails(): assert 1 == 2
        def test_skips(): pytest.skip("why")
        @pytest.mark.xfail
        def test_xfails(): raise OSError
        """,
        "--weft",
    )
    seen.assert_outcomes(failed=1, skipped=1, xfailed=1)
    seen.stdout.fnmatch_lines(["*assert 1 == 2"])


# --- Leaks -------------------------------------------------------------------------------------


def test_green_threads_that_are_left_fail_the_test(run):
    seen = run(
        """
        import threading, weft
        def test_spawned(): weft.spawn(threading.Event().wait)
        def test_thread():
            gate = threading.Event()
            threading.Thread(target=gate.wait, name="left over").start()
            threading.Timer(1, gate.set).start()
        def test_next(): pass
        """,
        "--weft",
    )
    seen.assert_outcomes(passed=3, errors=2)
    seen.stdout.fnmatch_lines(
        ["*LeakError: green threads were left behind: green-* (wait)", "*in Event.wait*"]
    )
    assert "left over" in seen.stdout.str()


def test_daemons_those_of_fixtures_and_those_marked_may_be_left(run):
    seen = run(
        """
        import threading
        import pytest, weft
        @pytest.fixture(scope="module")
        def service():
            gate = threading.Event()
            threading.Thread(target=gate.wait).start()
            yield
            gate.set()
        def test_uses_it(service): pass
        def test_uses_it_too(service): pass
        def test_daemon(): threading.Thread(target=threading.Event().wait, daemon=True).start()
        @pytest.mark.may_leak_green_threads
        def test_marked(): threading.Timer(0.6, int).start()
        """,
        "--weft",
        "--strict-markers",
    )
    seen.assert_outcomes(passed=4)


# --- Time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--weft"]])
def test_a_fixture_and_a_marker_give_a_virtual_clock(run, options):
    seen = run(
        """
        import time
        import pytest
        def test_fixture(virtual_clock):
            time.sleep(3600)
            assert virtual_clock.elapsed == 3600
        @pytest.mark.virtual_clock
        def test_marker():
            before = time.monotonic_ns()
            time.sleep(3600)
            assert time.monotonic_ns() - before == 3600 * 10**9
        """,
        "--strict-markers",
        *options,
    )
    seen.assert_outcomes(passed=2)


def test_a_test_out_of_time_is_cancelled_and_all_green_threads_are_shown(run):
    seen = run(
        """
        import threading, time, weft
        def test_waits():
            other = weft.spawn(lambda: threading.Event().wait())
            try:
                threading.Event().wait()
            finally:
                other.cancel()
        def test_computes():
            while True: pass
        def test_next(): pass
        """,
        "--weft-timeout=0.3",
    )
    seen.assert_outcomes(failed=2, passed=1)
    seen.stdout.fnmatch_lines(
        ["still running after 0.3 s", "test_waits,*: parked", "green-* (<lambda>),*: parked"]
    )


def test_one_that_cannot_be_cancelled_ends_the_session(run):
    seen = run(
        """
        import threading, weft
        from weft import pytest_plugin
        pytest_plugin.CANCEL_PATIENCE = 0.1
        def test_stubborn():
            while True:
                try:
                    threading.Event().wait()
                except weft.Cancelled:
                    pass
        def test_next(): pass
        """,
        "--weft-timeout=0.3",
    )
    assert "test_stubborn cannot be cancelled: still running after 0.3 s" in seen.stdout.str()
    assert seen.ret == 1


def test_a_deadlock_fails_the_test(run):
    seen = run(
        """
        import threading
        def test_locks():
            first, second = threading.Lock(), threading.Lock()
            gate = threading.Barrier(2)
            def other():
                with second:
                    gate.wait()
                    with first: pass
            thread = threading.Thread(target=other, daemon=True)
            thread.start()
            with first:
                gate.wait()
                with second: pass
        def test_next(): pass
        """,
        "--weft",
    )
    seen.assert_outcomes(failed=1, passed=1)
    seen.stdout.fnmatch_lines(["no green thread can ever run again", "*2 wait for each other:"])


# --- Seeds -------------------------------------------------------------------------------------

RACE = """
    import threading
    class Number:
        value = 0
        def read(self): return self.value
        def write(self, value): self.value = value
    def add(number):
        for _ in range(20): number.write(number.read() + 1)
    def test_race():
        number = Number()
        threads = [threading.Thread(target=add, args=(number,)) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert number.value == 60
"""


def test_a_seed_decides_and_is_told_with_a_failure(pytester):
    pytester.makepyfile(RACE)
    for seed in range(200):
        seen = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--weft-seed", str(seed))
        assert f"weft: each test in a green thread, seed {seed}" in seen.stdout.str()
        if seen.ret != 0:
            break
    assert re.search(rf"^--weft-seed {seed}$", seen.stdout.str(), re.MULTILINE)
    again = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--weft-seed", str(seed))
    again.assert_outcomes(failed=1)


def test_weft_run_is_nothing_to_be_warned_of(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    pytester.makeini("[pytest]\nfilterwarnings = error")
    command = [sys.executable, "-m", "weft", "run", "-m", "pytest", "-p", "no:cacheprovider"]
    pytester.run(*command).assert_outcomes(passed=1)
