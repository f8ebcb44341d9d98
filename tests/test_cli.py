"""`weft run program` against `python program`: whatever can be seen from outside is the same."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import pytest

WEFT = [sys.executable, "-m", "weft", "run"]
CONSOLE_SCRIPT = os.path.join(os.path.dirname(sys.executable), "weft")
TIMEOUT_SECONDS = 60

SURROUNDINGS = """\
import sys
main = sys.modules["__main__"]
print(sys.argv, sys.path[0], len(sys.path))
print(__name__, __file__, __package__, getattr(__spec__, "name", None), __doc__)
print(type(__loader__).__name__, globals().get("__cached__", 0), type(__builtins__).__name__)
print(main.__dict__ is globals(), sorted(globals()))
"""

RAISES = """\
def outer():
    try:
        inner()
    except KeyError as error:
        raise RuntimeError("outer") from error

def inner():
    {}["key"]

outer()
"""


class Program:
    """A folder with a program in it, and the ways to run it."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, command, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )

    def weft(self, *arguments, **environment):
        return self.run([*WEFT, *arguments], **environment)

    def seen(self, command, **environment):
        result = self.run(command, **environment)
        return result.returncode, result.stdout, result.stderr

    def assert_same(self, *arguments, **environment):
        """Run it with and without weft; return what was seen both times."""
        plain = self.seen([sys.executable, *arguments], **environment)
        assert self.seen([*WEFT, *arguments], **environment) == plain
        assert self.seen([*WEFT, "--os-threads", *arguments], **environment) == plain
        return plain


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


# --- The program's surroundings --------------------------------------------------------


@pytest.mark.parametrize("path", ["app.py", "./app.py", "sub/../app.py", "{folder}/app.py"])
def test_script_sees_what_python_would_show_it(program, path):
    program.write("app.py", SURROUNDINGS)
    (program.folder / "sub").mkdir()
    status, output, _ = program.assert_same(path.format(folder=program.folder), "-x", "--report")
    assert status == 0
    assert "'-x', '--report'" in output


def test_link_to_script(program):
    program.write("real/app.py", SURROUNDINGS)
    (program.folder / "link.py").symlink_to("real/app.py")
    _, output, _ = program.assert_same("link.py")
    assert os.path.join(program.folder.resolve(), "real") in output


def test_module(program):
    program.write("app.py", SURROUNDINGS)
    assert program.assert_same("-m", "app", "-m", "x")[0] == 0


def test_package(program):
    program.write("app/__init__.py", "")
    program.write("app/__main__.py", SURROUNDINGS)
    assert program.assert_same("-m", "app", "x")[0] == 0


def test_folder(program):
    program.write("app/__main__.py", SURROUNDINGS)
    assert program.assert_same("app", "x")[0] == 0
    assert program.assert_same("./app/", "x")[0] == 0


def test_zip_file(program):
    with zipfile.ZipFile(program.folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", SURROUNDINGS + RAISES)
    assert program.assert_same("app.zip", "x")[0] == 1


def test_compiled_file(program):
    program.write("app.py", SURROUNDINGS)
    program.run(
        [sys.executable, "-c", "import py_compile; py_compile.compile('app.py', 'app.pyc')"]
    )
    assert program.assert_same("app.pyc")[0] == 0


@pytest.mark.parametrize("arguments", [["app.py"], ["-m", "app"], ["folder"]])
def test_safe_path(program, arguments):
    program.write("app.py", SURROUNDINGS)
    program.write("folder/__main__.py", SURROUNDINGS)
    path = {"PYTHONPATH": str(program.folder), "PYTHONSAFEPATH": "1"}
    assert program.assert_same(*arguments, **path)[0] == 0


def test_own_functions_can_be_pickled(program):
    program.write(
        "app.py",
        "import pickle\n"
        "class Thing: pass\n"
        "print(pickle.loads(pickle.dumps(Thing())).__class__ is Thing, pickle.dumps(Thing()))\n",
    )
    assert program.assert_same("app.py")[0] == 0


def test_multiprocessing_finds_the_program(program):
    program.write(
        "app.py",
        "import multiprocessing, os, sys\n"
        "def double(n): return 2 * n\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with context.Pool(2) as pool:\n"
        "        print(pool.map(double, range(5)))\n",
    )
    status, output, errors = program.assert_same("app.py")
    assert (status, output, errors) == (0, "[0, 2, 4, 6, 8]\n", "")


def test_source_encoding(program):
    source = "# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n"
    (program.folder / "app.py").write_bytes(source.encode("latin-1"))
    assert program.assert_same("app.py")[1] == "'\\xe9'\n"


def test_threads_are_green_unless_told_otherwise(program):
    program.write(
        "app.py",
        "import threading, weft\n"
        "with_thread = []\n"
        "t = threading.Thread(target=lambda: with_thread.extend(weft.all_threads()))\n"
        "t.start(); t.join()\n"
        "print(weft.installed(), len(with_thread))\n",
    )
    assert program.weft("app.py").stdout == "True 1\n"
    assert program.weft("--os-threads", "app.py").stdout == "False 0\n"


# --- How it ends -------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["app.py"], ["-m", "app"], ["-m", "package"], ["folder"]])
def test_traceback(program, arguments):
    program.write("app.py", RAISES)
    program.write("package/__main__.py", RAISES)
    program.write("folder/__main__.py", RAISES)
    status, _, errors = program.assert_same(*arguments)
    assert status == 1
    assert "weft" not in errors.replace(str(program.folder), "")


@pytest.mark.parametrize("arguments", [["app.py"], ["-m", "app"]])
def test_syntax_error(program, arguments):
    program.write("app.py", "x = 1\nif x\n")
    assert program.assert_same(*arguments)[0] == 1


def test_traceback_of_a_thread(program):
    program.write(
        "app.py",
        "import threading\n"
        "def fails(): 1 / 0\n"
        "t = threading.Thread(target=fails); t.start(); t.join(); print('goes on')\n",
    )
    status, output, errors = program.assert_same("app.py")
    assert (status, output) == (0, "goes on\n")
    assert "Exception in thread Thread-1 (fails):" in errors


@pytest.mark.parametrize(
    "hook",
    [
        "sys.excepthook = lambda *about: print(about[:2], traceback.format_exception(*about))",
        "sys.excepthook = lambda kind, error, tb: {}[kind]",
        "sys.excepthook = None",
        "sys.excepthook = lambda *about: sys.exit(5)",
    ],
)
def test_excepthook(program, hook):
    program.write("app.py", f"import sys, traceback\n{hook}\n{RAISES}")
    assert program.assert_same("app.py")[0] in {1, 5}


@pytest.mark.parametrize(
    ("code", "status"), [("", 0), ("3", 3), ("'a message'", 1), ("None", 0), ("-1", 255)]
)
@pytest.mark.parametrize("arguments", [["app.py"], ["-m", "app"]])
def test_exit_status(program, arguments, code, status):
    program.write("app.py", f"import sys\nsys.exit({code})\n")
    assert program.assert_same(*arguments)[0] == status


def test_exit_status_of_os_exit(program):
    program.write("app.py", "import os\nos._exit(7)\n")
    assert program.assert_same("app.py")[0] == 7


@pytest.mark.parametrize("arguments", [["app.py"], ["-m", "app"]])
def test_keyboard_interrupt_kills_by_signal(program, arguments):
    program.write("app.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    status, _, errors = program.assert_same(*arguments)
    assert status == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    "wait", ["time.sleep(60)", "threading.Event().wait()", "t.join()", "os.read(r, 1)"]
)
def test_interrupt_of_a_waiting_program(program, wait):
    program.write(
        "app.py",
        "import os, threading, time\n"
        "r, w = os.pipe()\n"
        "t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start()\n"
        "print('ready', flush=True)\n"
        f"{wait}\n",
    )
    with subprocess.Popen(
        [*WEFT, "app.py"],
        cwd=program.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    "arguments",
    [["missing.py"], ["-m", "missing"], ["empty"], ["-m", "empty"], ["-m", "os.path.x"]],
)
def test_program_that_is_not_there(program, arguments):
    (program.folder / "empty").mkdir()
    status, output, errors = program.assert_same(*arguments)
    assert status in {1, 2}
    assert output == ""
    assert errors.count("\n") == 1


def test_unreadable_program(program):
    program.write("app.py", "").chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    assert program.assert_same("app.py")[0] == 2


def test_threads_are_waited_for(program):
    program.write(
        "app.py",
        "import atexit, threading, time\n"
        "def late():\n"
        "    time.sleep(0.05); print('thread')\n"
        "atexit.register(print, 'atexit')\n"
        "threading.Thread(target=late).start()\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print('main')\n",
    )
    assert program.assert_same("app.py") == (0, "main\nthread\natexit\n", "")


# --- The command's own words -------------------------------------------------------------


def test_no_command_prints_help(program):
    result = program.run([sys.executable, "-m", "weft"])
    assert result.returncode == 0
    assert result.stdout.startswith("usage: weft ")


@pytest.mark.parametrize(
    "arguments", [[], ["-m"], ["--os-threads"], ["--no-such-option", "app.py"]]
)
def test_wrong_usage(program, arguments):
    result = program.weft(*arguments)
    assert result.returncode == 2
    assert "usage: weft run" in result.stderr or "unrecognized arguments" in result.stderr
    assert result.stdout == ""


def test_console_script(program):
    program.write("app.py", "import sys\nprint(sys.argv)\n" + RAISES)
    plain = program.seen([sys.executable, "app.py", "x"])
    assert program.seen([CONSOLE_SCRIPT, "run", "app.py", "x"]) == plain


def test_double_dash_ends_options(program):
    program.write("app.py", "import sys\nprint(sys.argv)\n")
    assert program.weft("--", "app.py", "--", "x").stdout == "['app.py', '--', 'x']\n"


# --- Reports -----------------------------------------------------------------------------

TEN_THREADS = """\
import threading
gate = threading.Event()
threads = [threading.Thread(target=gate.wait) for _ in range(10)]
for t in threads:
    t.start()
gate.set()
print("main is done")
"""


@pytest.mark.parametrize("mode", ["weft", "os-threads"])
def test_report(program, mode):
    program.write("app.py", TEN_THREADS)
    flags = ["--os-threads"] if mode == "os-threads" else []
    result = program.weft(*flags, "--report", "--report-json", "report.json", "app.py")
    assert (result.returncode, result.stdout) == (0, "main is done\n")
    report = json.loads((program.folder / "report.json").read_text())
    assert report["mode"] == mode
    assert report["threads_started"] == 10
    assert report["peak_alive"] == 10
    assert report["os_threads"] == (1 if mode == "weft" else 11)
    assert 0 < report["cpu_seconds"] < TIMEOUT_SECONDS
    assert 0 < report["wall_seconds"] < TIMEOUT_SECONDS
    assert 2**20 < report["peak_memory_bytes"] < 2**30
    lines = result.stderr.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("weft: ") for line in lines)


def test_report_comes_last_and_from_the_parent_alone(program):
    program.write(
        "app.py",
        "import atexit, os, sys, threading\n"
        "atexit.register(print, 'atexit', file=sys.stderr)\n"
        "if os.fork() == 0:\n"
        "    os.close(2); os.open(os.devnull, os.O_WRONLY); os.dup2(1, 2)\n"
        "    sys.exit()\n"
        "os.wait()\n"
        "threading.Timer(0.05, print, ['thread'], {'file': sys.stderr}).start()\n"
        "os.mkdir('elsewhere'); os.chdir('elsewhere')\n",
    )
    result = program.weft("--report", "--report-json", "report.json", "app.py")
    assert result.returncode == 0
    assert "weft:" not in result.stdout
    lines = result.stderr.splitlines()
    assert lines[:2] == ["thread", "atexit"]
    assert len(lines) == 9
    assert (program.folder / "report.json").exists()


def test_report_of_a_program_that_fails(program):
    program.write("app.py", RAISES)
    result = program.weft("--report", "app.py")
    assert result.returncode == 1
    plain = program.run([sys.executable, "app.py"])
    assert result.stderr.startswith(plain.stderr + "weft: ")
