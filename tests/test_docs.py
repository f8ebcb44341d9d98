"""The pages say what happens: their Python runs, and prints what stands below it.

Each block marked `python`, on any page, is executed, all of a page in one process, from the first
to the last.  A block marked `text` that follows at once is what it prints; "..." stands for what
may differ.  Nothing may be written to standard error, warnings included.

In a block marked `console`, a line that begins with "$ " is executed too, in a folder that holds
the repository's `docs` and `examples` and the programs that the page tells its reader to write (a
`python` block after a line with "Put this into `NAME.py`").  The lines below it are its output;
where there are none it must succeed.  What is not executed stands in NOT_RUN, with the reason.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import weft
import weft.aio
import weft.testing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BOOK = DOCS / "book"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOCTREE = re.compile(r"^```{toctree}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"Put this into `(\w+\.py)`[^\n]*\n+\Z")
WHAT_IT_TOOK = re.compile(r"[\d,]+ runs?, [\d.]+ s\b")
STDERR_IS_SHOWN = {"dumps"}  # a dump goes there

# The beginnings of commands that no test executes, and why.
NOT_RUN = {
    "make ": "what the Makefile does is what CI runs, or takes minutes",
    "python3 -m venv": "takes a minute; a clean clone is built by CI",
    ". env/bin/activate": "as above",
    "pip install": "as above",
    "python tools/": "take minutes; conformance.md has what they said, and when",
    "python3 tests/libraries/run.py": "needs database servers; test_libraries.py has its parts",
    "weft run app.py": "app.py stands for the reader's program; test_cli.py has the options",
    "weft run -m package.module": "stands for the reader's; see test_cli.py",
    "weft run --report app.py": "stands for the reader's; see test_report.py",
    "weft run --warn-stall": "what it says depends on the moment; see test_stalls.py",
    "weft run --os-threads": "stands for the reader's; see test_cli.py",
    "weft run --seed 44 app.py": "stands for the reader's; see test_explore.py",
    "weft explore app.py": "stands for the reader's; see test_explore.py",
    "weft doctor -m": "names the reader's module; see test_doctor.py",
    "kill -QUIT": "needs the number of a process; see test_dump.py",
}

pytestmark = pytest.mark.slow
up_to_313 = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the book's programs are about CPython up to 3.13"
)

# Runs the blocks of one page, given as a list on standard input, and prints a line between them.
RUN_BLOCKS = """\
import json, sys
names = {"__name__": "__main__"}
for block in json.load(sys.stdin):
    exec(compile(block, "<page>", "exec"), names)
    print("--- next block", flush=True)
"""


def matches(shown, printed):
    """Is this the output that the page shows?  Counts of runs and seconds belong to one run."""
    pattern = re.escape(WHAT_IT_TOOK.sub("...", shown.strip())).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def blocks(page):
    """The fenced blocks of a page: language, text, what follows at once, and what stands before."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    for i, fence in enumerate(found):
        after = found[i + 1] if i + 1 < len(found) else None
        follows = after and not text[fence.end() : after.start()].strip()
        yield fence[1], fence[2], after if follows else None, text[: fence.start()]


def environment():
    scripts = str(Path(sys.executable).parent)
    return os.environ | {
        "PYTHONPATH": str(BOOK),
        "PYTHONIOENCODING": "utf-8",
        "PATH": scripts + os.pathsep + os.environ["PATH"],
    }


def pages_with(language):
    """A parameter for each page with such a block; the book's only run where the book does."""
    return pytest.mark.parametrize(
        "page",
        [
            pytest.param(page, id=page.stem, marks=[up_to_313] if page.parent == BOOK else [])
            for page in PAGES
            if any(found == language for found, *_ in blocks(page))
        ],
    )


@pages_with("python")
def test_the_python_of_a_page_prints_what_the_page_says(page, tmp_path):
    found = [(text, after) for language, text, after, _ in blocks(page) if language == "python"]
    shown = [after[2] if after and after[1] == "text" else None for _, after in found]
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", RUN_BLOCKS],
        input=json.dumps([text for text, _ in found]),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert page.stem in STDERR_IS_SHOWN or not done.stderr
    printed = done.stdout.split("--- next block\n")
    for (source, _), expected, output in zip(found, shown, printed, strict=False):
        assert expected is None or matches(expected, output), (source, output)


@pages_with("console")
def test_the_commands_of_a_page_print_what_the_page_says(page, tmp_path):
    for folder in "docs", "examples":
        (tmp_path / folder).symlink_to(ROOT / folder)
    for language, text, _, before in blocks(page):
        if language == "python" and (name := FILE.search(before)):
            (tmp_path / name[1]).write_text(text)
        if language == "console":
            check_session(text, tmp_path)


def check_session(text, folder):
    for command in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
        line, _, shown = command.partition("\n")
        line = line.removeprefix("$ ").partition("  #")[0].rstrip()
        if line and not line.startswith(tuple(NOT_RUN)):
            done = subprocess.run(
                line.replace("python3", sys.executable, 1).split(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                cwd=folder,
                env=environment(),
            )
            if shown.strip():
                assert matches(shown, done.stdout), (line, done.stdout)
            else:
                assert done.returncode == 0, (line, done.stdout)


def test_what_is_not_run_is_there():
    commands = re.findall(r"^\$ (.*)$", "".join(page.read_text() for page in PAGES), re.MULTILINE)
    unused = [start for start in NOT_RUN if not any(line.startswith(start) for line in commands)]
    assert not unused


# --- Nothing is missing, nothing is there twice ---------------------------------------------------


def test_every_chapter_ends_with_what_to_try():
    for chapter in BOOK.glob("[0-9]*.md"):
        assert re.findall("^## (.*)$", chapter.read_text(), re.MULTILINE)[-1] == "Try", chapter


def test_the_reference_has_every_public_name_once():
    groups = re.findall(r"^```{stub} (.*)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    listed = " ".join(groups).split()
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) >= (
        set(weft.__all__) - {"local"}
        | {f"aio.{name}" for name in weft.aio.__all__}
        | {f"testing.{name}" for name in weft.testing.__all__}
    )


def test_every_page_is_in_the_list_of_pages():
    """Sphinx says so too, but only to those who build the pages."""
    listed = set()
    for page in DOCS.rglob("*.md"):
        for tree in TOCTREE.findall(page.read_text()):
            entries = [line for line in tree.split() if not line.startswith(":")]
            listed |= {found for entry in entries for found in page.parent.glob(f"{entry}.md")}
    assert set(DOCS.rglob("*.md")) - listed == {DOCS / "index.md"}


@pytest.mark.parametrize("page", ["scheduler", "blocking-calls", "watchdog"])
def test_the_headings_are_functions_that_exist(page):
    """Those in files of C: where the function is written, or declared if it is assembly."""
    text = (DOCS / f"{page}.md").read_text()
    headings = re.findall(r"^## `(\w+)` in `(\w+\.[ch])`$", text, re.MULTILINE)
    assert len(headings) == len(re.findall("^## ", text, re.MULTILINE)) > 10
    for name, file in headings:
        (path,) = (ROOT / "src" / "core").glob(f"*/{file}")
        assert re.search(rf"^[\w *]+\b{name}\(", path.read_text(), re.MULTILINE), (name, file)


def test_the_known_differences_are_on_their_page():
    page = (DOCS / "conformance.md").read_text()
    known = tomllib.loads((ROOT / "tools" / "cpython_differences.toml").read_text())["difference"]
    for test in (test for difference in known for test in difference["tests"]):
        assert f"{test.rpartition('.')[2].removesuffix('*')}`" in page, test
