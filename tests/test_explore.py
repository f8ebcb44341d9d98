"""weft run --seed and weft explore, from outside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RACES = Path(__file__).parent.parent / "examples" / "races"

PASSES = """
import threading
threads = [threading.Thread(target=print, args=(n,)) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def weft(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "weft", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={"PYTHONHASHSEED": "0"},
    )


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    return write


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def output_of(explored):
    return explored.split("--- its output\n")[1].split("--- to see it again\n")[0]


# --- Races -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("race", "how"),
    [
        ("lost_update", "exit status 1"),
        ("check_then_act", "an exception in a thread"),
        ("lock_order", "a deadlock, exit status 1"),
    ],
)
def test_classic_races_are_found_and_replayed_every_time(race, how):
    path = RACES / f"{race}.py"
    explored = weft("explore", path)
    found = re.match(r"weft explore: seed (\d+) fails: (.*) \([\d,]+ runs?, ", explored.stdout)
    assert (explored.returncode, found[2]) == (1, how)
    assert f"-m weft run --seed {found[1]} {path}\n" in explored.stdout
    for _ in range(3):
        again = weft("run", "--seed", found[1], path)
        assert without_addresses(again.stdout + again.stderr) == without_addresses(
            output_of(explored.stdout)
        )


def test_the_first_failing_seed_does_not_depend_on_how_many_run_at_a_time():
    def first(jobs):
        explored = weft("explore", "--jobs", jobs, RACES / "lost_update.py")
        return re.search(r"seed (\d+)", explored.stdout)[1]

    assert first(1) == first(4)


# --- Replaying ---------------------------------------------------------------------------------


def test_a_seed_gives_the_same_run_each_time_and_another_another(script):
    path = script(
        """
import queue, threading, time
numbers = queue.Queue(2)
def work(name):
    for _ in range(20):
        time.sleep(1 / 3)
        numbers.put(name)
for name in "abc":
    threading.Thread(target=work, args=(name,)).start()
print("".join(numbers.get() for _ in range(60)), time.time(), time.monotonic())
"""
    )
    outputs = {seed: weft("run", "--seed", seed, path).stdout for seed in (1, 2)}
    assert outputs == {seed: weft("run", "--seed", seed, path).stdout for seed in (1, 2)}
    assert outputs[1] != outputs[2]


def test_time_is_virtual_unless_it_shall_not_be(script):
    path = script("import time; b = time.time(); time.sleep(0.01 + 500 * (b < 1.78e9)); print(b)")
    assert weft("run", "--seed", 1, path).stdout == "1767225600.0\n"
    assert float(weft("run", "--seed", 1, "--real-time", path).stdout) > 1.78e9


def test_a_seed_is_not_for_os_threads(script):
    refused = weft("run", "--seed", 1, "--os-threads", script(""))
    assert (refused.returncode, "--os-threads" in refused.stderr) == (2, True)


# --- Exploring ---------------------------------------------------------------------------------


def test_no_seed_fails(script):
    explored = weft("explore", "--runs", 20, "--first", 5, script(PASSES))
    assert explored.returncode == 0
    assert explored.stdout.startswith("weft explore: no seed from 5 to 24 fails (20 runs, ")


def test_arguments_are_the_programs(script):
    path = script("import sys; sys.exit(str(sys.argv[1:]))")
    explored = weft("explore", path, "--runs", "5")
    assert output_of(explored.stdout) == "['--runs', '5']\n"


def test_a_module_is_explored(script):
    path = script("raise SystemExit(__name__)")
    explored = weft("explore", "-m", "script", cwd=path.parent)
    assert output_of(explored.stdout) == "__main__\n"
    assert "run --seed 0 -m script\n" in explored.stdout


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import threading; threading.Thread(target=len).start()", "an exception in a thread"),
        ("import weft; weft.spawn(len)", "an exception in a thread"),
        (
            "import threading, weft; weft.spawn(threading.Event().wait).join()",
            "a deadlock, exit status 1",
        ),
    ],
)
def test_every_way_to_fail_is_told(script, program, how):
    explored = weft("explore", "--runs", 1, script(program))
    assert explored.returncode == 1
    assert f"seed 0 fails: {how} (1 run, " in explored.stdout


def test_a_run_that_takes_too_long_shows_where_its_green_threads_are(script):
    path = script("import threading\nthreading.Event().wait()")
    explored = weft("explore", "--timeout", "300ms", path)
    assert "still running after 0.3 s" in explored.stdout
    assert "weft: 1 green thread" in explored.stdout


def test_one_that_cannot_even_say_that_is_ended(script):
    path = script("import signal as s; s.signal(s.SIGQUIT, s.SIG_IGN)\nwhile True: pass")
    assert "still running" in weft("explore", "--timeout", "300ms", path).stdout


@pytest.mark.parametrize("option", ["--runs=0", "--jobs=0", "--timeout=x"])
def test_nonsense_is_refused(script, option):
    assert weft("explore", option, script("")).returncode == 2


def test_a_program_is_needed():
    assert weft("explore").returncode == 2
