"""`weft doctor`: what it finds, how it says it, and its exit status."""

import json
import os
import subprocess
import sys
import types

import pytest

from weft import _machine, _packages, doctor
from weft._finding import Finding


def run_doctor(*arguments, cwd, env=None):
    command = [sys.executable, "-m", "weft", "doctor", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, env=os.environ | (env or {})
    )


# --- The command ---------------------------------------------------------------------------


def test_all_is_well(tmp_path):
    seen = run_doctor(cwd=tmp_path)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "problem" not in seen.stdout
    assert "10 green threads waited for a lock at once, on one OS thread." in seen.stdout
    assert seen.stdout.splitlines()[-1].startswith("All is well")


def test_a_problem_changes_the_exit_status(tmp_path):
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").touch()
    (tmp_path / "gevent" / "monkey.py").write_text("saved = {'threading': {}}\n")
    (tmp_path / "app.py").write_text("import gevent.monkey\n")
    seen = run_doctor("-m", "app", cwd=tmp_path)
    assert (seen.returncode, seen.stderr) == (1, "")
    assert "-> Take out the call of gevent.monkey.patch_all()" in seen.stdout
    assert seen.stdout.splitlines()[-1].startswith("1 problem, ")


def test_a_reader_may_have_seen_enough(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "weft", "doctor"]
    with os.fdopen(writer) as output:
        seen = subprocess.run(
            command, cwd=tmp_path, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (seen.returncode, seen.stderr) == (0, "")


def test_verbose_lists_libraries_and_symbols(tmp_path):
    plain, verbose = (run_doctor(*flags, cwd=tmp_path) for flags in ([], ["-v"]))
    assert "sem_wait" not in plain.stdout
    assert "sem_wait" in verbose.stdout


def test_what_the_module_brings_in_is_judged(tmp_path):
    pytest.importorskip("greenlet")
    (tmp_path / "app.py").write_text("import greenlet\nprint('noise')\n")
    seen = run_doctor("-m", "app", cwd=tmp_path)
    assert (seen.returncode, seen.stderr) == (0, "noise\n")
    assert "imported by app: each green thread has greenlets of its own" in seen.stdout.replace(
        "\n" + doctor.INDENT, " "
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path, source, message):
    (tmp_path / "app.py").write_text(source + "\n")
    seen = run_doctor("-m", "app", cwd=tmp_path)
    assert (seen.returncode, seen.stdout) == (2, "")
    assert message in seen.stderr
    assert seen.stderr.endswith("weft doctor: app could not be imported\n")
    assert "doctor.py" not in seen.stderr


def test_usage(tmp_path):
    assert run_doctor("--no-such", cwd=tmp_path).returncode == 2


def test_json_says_the_same(tmp_path):
    (tmp_path / "app.py").write_text("print('noise')\n")
    seen = run_doctor("--json", "-m", "app", cwd=tmp_path)
    report = json.loads(seen.stdout)
    assert (seen.returncode, report["problems"]) == (0, 0)
    assert list(report["sections"]) == ["Hooks", "Self-check", "Packages", "This machine"]
    findings = [finding for found in report["sections"].values() for finding in found]
    assert {finding["mark"] for finding in findings} <= {"ok", "note"}
    assert report["notes"] == sum(finding["mark"] == "note" for finding in findings)


def test_a_low_limit_is_a_note(tmp_path):
    command = f"ulimit -n 64; exec {sys.executable} -m weft doctor"
    seen = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert seen.returncode == 0
    assert "note     64 descriptors may be open at once" in seen.stdout


# --- Its parts -----------------------------------------------------------------------------


def test_a_self_check_that_fails_is_a_problem(installed):
    finding = doctor._together("did nothing", lambda: ([int] * doctor.CROWD, int))
    assert finding.mark == "problem"
    assert "only 0 were parked at once" in finding.text


def test_a_self_check_that_raises_is_a_problem(installed):
    def fail():
        raise ValueError("why")

    finding = doctor._together("failed", lambda: ([fail] * doctor.CROWD, int))
    assert finding.details == ("ValueError('why')",) * doctor.CROWD


@pytest.mark.parametrize("value", [json, json.dumps, json.JSONDecoder])
def test_importers_are_named_by_their_package(monkeypatch, value):
    module = types.ModuleType("user_of_json.inside")
    module.name = value
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert "user_of_json" in _packages.importers("json")
    assert "user_of_json" not in _packages.importers("pickle")


def test_every_finding_on_this_machine_has_a_sentence():
    findings = _machine.findings() + _packages.findings()
    assert [finding.text for finding in findings if not finding.text.endswith(".")] == []


def test_the_least_memory_limit_of_the_groups_above_counts(monkeypatch):
    files = {
        "/proc/self/cgroup": "0::/a/b\n",
        "/sys/fs/cgroup/a/b/memory.max": "max\n",
        "/sys/fs/cgroup/a/memory.max": f"{2**20}\n",
        "/sys/fs/cgroup/memory.max": f"{2**30}\n",
    }
    monkeypatch.setattr(_machine, "_text", lambda path: files.get(path, ""))
    assert _machine._cgroup_memory_limit() == 2**20


def test_strict_accounting_is_a_note(monkeypatch):
    monkeypatch.setattr(_machine, "_number", lambda path: 2)
    assert [finding.mark for finding in _machine._address_space()] == ["note"]


def test_lines_are_wrapped_and_details_are_for_verbose():
    finding = Finding("note", "word " * 40, "do this", ("detail",))
    lines = doctor._lines(finding, verbose=False)
    assert max(map(len, lines)) <= doctor.WIDTH
    assert lines[0].startswith("  note     word")
    assert lines[-1] == f"{doctor.INDENT}-> do this"
    assert doctor._lines(finding, verbose=True)[-1] == f"{doctor.INDENT}detail"
