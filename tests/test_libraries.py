"""The command that runs libraries on real servers (tests/libraries): its judgement, not its runs.

`make test-libraries` is the proof itself; it takes minutes, and servers.
"""

import sys
from pathlib import Path

import pytest

LIBRARIES = Path(__file__).with_name("libraries")
sys.path.insert(0, str(LIBRARIES))

from case import MODES, Case, all_cases, load, read_case  # noqa: E402 - where we just looked
from measure import Result, run_script  # noqa: E402
from servers import SERVERS  # noqa: E402
from web_case import WEB_CASES  # noqa: E402
from web_measure import Load, WebResult, read_wrk  # noqa: E402


def run(wall=1.0, os_threads=1, helpers=0, trouble=""):
    return {"wall": wall, "os_threads": os_threads, "helpers": helpers, "trouble": trouble}


def troubles(case=None, **runs):
    return Result(case or Case(Path("x.py"), "x"), 50, runs=runs).troubles()


def test_a_case_that_is_concurrent_on_one_os_thread_passes():
    assert troubles(green=run(0.3), threads=run(0.3, 51), serial=run(10)) == []


def test_a_case_that_was_skipped_is_no_failure():
    assert Result(Case(Path("x.py"), "x"), 50, "no server").troubles() == []


def test_green_threads_that_waited_for_each_other_are_told_from_concurrent_ones():
    (trouble,) = troubles(green=run(9), threads=run(0.3, 51), serial=run(10))
    assert "only 1.1 times as fast as serial" in trouble


def test_jobs_that_must_take_turns_need_not_be_concurrent():
    case = Case(Path("x.py"), "x", speedup=0)
    assert troubles(case, green=run(9), threads=run(9, 51), serial=run(10)) == []


def test_an_os_thread_too_many_is_told_from_helpers():
    assert troubles(green=run(0.3, 4, helpers=3), serial=run(10)) == []
    assert troubles(green=run(0.3, 5, helpers=3), serial=run(10)) == ["5 OS threads, 4 allowed"]


def test_a_failure_in_any_mode_counts():
    found = troubles(green=run(0.3), threads=run(trouble="3 jobs failed"), serial=run(10))
    assert found == ["threads: 3 jobs failed"]


def test_every_case_says_what_it_needs_before_its_library_is_there():
    cases = all_cases()
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert case.modes[0] == "green", case.key
        assert set(case.modes) <= set(MODES), case.key
        assert set(case.servers) <= SERVERS.keys(), case.key
        if "serial" not in case.modes:  # jobs that work in pairs
            assert case.jobs % 2 == case.quick % 2 == 0, case.key


@pytest.fixture
def case_file(tmp_path):
    def write(text):
        path = tmp_path / "made_up.py"
        path.write_text(text)
        return path

    return write


def test_a_case_is_read_without_being_run(case_file):
    path = case_file("import nowhere\nNAME = 'made up'\nJOBS = 7\nWHERE = nowhere.at_all()\n")
    case = read_case(path)
    assert (case.key, case.name, case.jobs) == ("made_up", "made up", 7)
    with pytest.raises(ModuleNotFoundError):
        load(case)


def test_a_script_that_dies_or_hangs_is_a_trouble_with_details():
    # child.py without arguments ends with a traceback.
    died = run_script("child.py", addresses={}, limit=20)
    assert died["trouble"] == "exit status 1"
    assert "ValueError" in died["details"]


def test_a_script_that_does_not_end_is_ended(tmp_path):
    script = tmp_path / "hangs.py"
    script.write_text("import time\ndef hang():\n    time.sleep(60)\nhang()\n")
    hung = run_script(str(script), addresses={}, limit=0.5)
    assert hung["trouble"] == "no end in 0.5 s"
    assert "in hang" in hung["details"]


def test_the_child_tells_which_job_failed(monkeypatch, capsys, case_file):
    import child

    monkeypatch.setattr(child, "failures", [])
    path = case_file("NAME = 'made up'\ndef job(i):\n    assert i != 2, 'wrong'\n")
    measured = child.measure(read_case(path), "green", 4)
    (failure,) = measured["failures"]
    assert failure.startswith("job 2: ")
    assert "AssertionError: wrong" in failure


# --- web servers --------------------------------------------------------------------------


def loaded(rate=900.0, os_threads=1, status=-15, troubles=()):
    return Load(rate, os_threads=os_threads, status=status, troubles=list(troubles))


def web_troubles(green, threads):
    return WebResult(WEB_CASES[0], loads={"green": green, "threads": threads}).troubles()


def test_a_web_server_passes_by_its_median():
    slow_once = [loaded(), loaded(rate=9), loaded()]
    assert web_troubles(slow_once, [loaded(os_threads=51)] * 3) == []


def test_a_web_server_that_answers_one_after_the_other_is_found_out():
    assert web_troubles([loaded(rate=20)], [loaded()]) == ["not concurrent"]


def test_a_web_server_on_os_threads_is_found_out():
    assert web_troubles([loaded(os_threads=51)], [loaded()]) == ["51 OS threads, 5 allowed"]


def test_a_web_server_must_end_as_under_plain_python():
    (trouble,) = web_troubles([loaded(status=0)], [loaded(status=-15)])
    assert trouble.startswith("exit status differs")


def test_a_wrong_answer_counts_in_any_mode():
    assert web_troubles([loaded()], [loaded(troubles=["argh"])]) == ["threads: argh"]


WRK = """\
  2635 requests in 3.04s, 11.33MB read
  Socket errors: connect 0, read 3, write 0, timeout 0
  Non-2xx or 3xx responses: 7
Requests/sec:    867.08
"""


def test_what_wrk_says_is_understood():
    rate, count, bad = read_wrk(WRK)
    assert (rate, count) == (867.08, 2635)
    assert bad == [
        "Socket errors: connect 0, read 3, write 0, timeout 0",
        "Non-2xx or 3xx responses: 7",
    ]
