"""The examples do what they say, and the README's first program is one of them."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
WEFT = [sys.executable, "-m", "weft", "run"]
MODES = {
    "python": [sys.executable],
    "os-threads": [*WEFT, "--os-threads"],
    "weft": WEFT,
}

TREE = {
    "a.py": "one\ntwo\n",
    "package/__init__.py": "",
    "package/long.py": "x = 1\n" * 100,
    "package/data file.txt": "no Python\n",
    "package/deep/er/umlaut_\xfc.py": "# \xfc\n",
    "package/__pycache__/a.pyc": "hidden",
    "site-packages/other.py": "hidden",
    "lib.so": "hidden",
}
LISTED = {
    "/": (0, 0),
    "/a.py": (8, 2),
    "/package/": (0, 0),
    "/package/__init__.py": (0, 0),
    "/package/data%20file.txt": (10, 0),
    "/package/deep/": (0, 0),
    "/package/deep/er/": (0, 0),
    "/package/deep/er/umlaut_%C3%BC.py": (5, 1),
    "/package/long.py": (600, 100),
}


def run(command, **options):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("mode", MODES)
def test_crawl_finds_everything_once(tree, mode):
    command = [*MODES[mode], EXAMPLES / "crawl.py", "--root", tree, "--latency", "1", "--json"]
    result = run([*command, "--progress", "--threads", "3"])
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    listing = "".join(f"{path}\t{size}\t{lines}\n" for path, (size, lines) in LISTED.items())
    assert found == {
        "pages": 9,
        "folders": 4,
        "files": 5,
        "bytes": 623,
        "python_files": 4,
        "python_lines": 103,
        "biggest": [
            ["package/long.py", 100],
            ["a.py", 2],
            ["package/deep/er/umlaut_%C3%BC.py", 1],
            ["package/__init__.py", 0],
        ],
        "checksum": hashlib.sha256(listing.encode()).hexdigest(),
        "failures": [],
    }
    progress = result.stderr.splitlines()
    assert progress[-1] == "progress 9 9"
    assert all(re.fullmatch(r"progress \d+ \d+", line) for line in progress)


def test_crawl_with_nothing_to_serve(tmp_path):
    result = run([*WEFT, EXAMPLES / "crawl.py", "--root", tmp_path, "--latency", "0"])
    assert result.returncode == 0, result.stderr
    assert "pages: 1\n" in result.stdout
    assert "failures: none\n" in result.stdout


@pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="rich is not installed")
def test_compare_shows_both_runs(tree):
    result = run([sys.executable, EXAMPLES / "compare.py", "--root", tree, "--latency", "1"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"pages fetched *│ *9 │ *9 │", result.stdout)
    assert re.search(r"identical results *│ *│ *yes │", result.stdout)


@pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="rich is not installed")
def test_compare_says_when_a_run_fails(tree):
    result = run([sys.executable, EXAMPLES / "compare.py", "--root", tree / "missing"])
    assert result.returncode == 1
    assert "404" in result.stdout


def test_hello():
    result = run([sys.executable, EXAMPLES / "hello.py"])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "1000 greetings, the last: hello, number 999\n"


def test_echo_server():
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "echo_server.py", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            port = int(re.search(r"port (\d+)", server.stdout.readline())[1])
            clients = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(20)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            answers = [client.recv(100) for client in reversed(clients)]
            assert answers == [b"%d" % number for number in reversed(range(20))]
            server.send_signal(signal.SIGINT)
            output, errors = server.communicate(timeout=30)
        finally:
            server.kill()
    for client in clients:
        client.close()
    assert (server.returncode, output, errors) == (0, "bye\n", "")


def test_first_program_of_the_readme(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    (tmp_path / "first.py").write_text(code)
    result = run([sys.executable, "first.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": ""})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "1000 greetings in one second\n"
