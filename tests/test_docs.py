"""The pages say what happens: their Python runs, and prints what stands below it.

In the pages listed here each block marked `python` is executed, all of a page in one process, from
the first to the last.  A block marked `text` that follows at once is what it prints.
In a block marked `console`, a line "$ python3 FILE ..." that runs one of the book's programs is
executed too, and the lines below it are its output.  "..." stands for whatever may differ.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weft

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BOOK = DOCS / "book"
PAGES = [
    *sorted(BOOK.glob("*.md")),
    DOCS / "tutorial.md",
    DOCS / "testing.md",
    *sorted(DOCS.glob("howto/*.md")),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="the book is about CPython up to 3.13"),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\$ python3 (docs/book/.*)")

# Runs the blocks of one page, given as a list on standard input, and prints a line between them.
RUN_BLOCKS = """\
import json, sys
names = {"__name__": "__main__"}
for block in json.load(sys.stdin):
    exec(compile(block, "<page>", "exec"), names)
    print("--- next block", flush=True)
"""


def matches(shown, printed):
    pattern = re.escape(shown.strip()).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def blocks(page):
    """The fenced blocks of a page: language, text, and the block that follows at once."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    for i, fence in enumerate(found):
        after = found[i + 1] if i + 1 < len(found) else None
        follows = after and not text[fence.end() : after.start()].strip()
        yield fence[1], fence[2], after if follows else None


def environment():
    return os.environ | {"PYTHONPATH": str(BOOK), "PYTHONIOENCODING": "utf-8"}


def pages_with(kind):
    found = [page for page in PAGES if any(kind(*block) for block in blocks(page))]
    return pytest.mark.parametrize("page", found, ids=[page.stem for page in found])


def is_python(language, _text, _after):
    return language == "python"


def has_commands(language, text, _after):
    return language == "console" and COMMAND.search(text)


@pages_with(is_python)
def test_the_python_of_a_page_prints_what_the_page_says(page, tmp_path):
    sources = [text for language, text, _ in blocks(page) if language == "python"]
    shown = [
        after[2] if after is not None and after[1] == "text" else None
        for language, _, after in blocks(page)
        if language == "python"
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split("--- next block\n")
    for source, expected, output in zip(sources, shown, printed, strict=False):
        assert expected is None or matches(expected, output), (source, output)


@pages_with(has_commands)
def test_the_commands_of_a_page_print_what_the_page_says(page):
    for language, text, _ in blocks(page):
        if language == "console":
            check_session(text)


def test_the_reference_has_every_public_name():
    listed = re.findall(r"^```{stub} (.*)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    assert set(weft.__all__) - {"local"} <= set(" ".join(listed).split())


def test_the_scheduler_s_page_is_about_functions_that_exist():
    headings = re.findall(r"^## `(\w+)`$", (DOCS / "scheduler.md").read_text(), re.MULTILINE)
    sources = "".join(
        path.read_text()
        for folder in ("engine", "binding")
        for path in (ROOT / "src" / "core" / folder).glob("*.[ch]")
    )
    assert len(headings) > 10
    for name in headings:
        assert re.search(rf"^[^\n/*]*\b{name}\(", sources, re.MULTILINE), name


def check_session(text):
    commands = re.split(r"^(?=\$ )", text, flags=re.MULTILINE)
    for command in filter(None, commands):
        line, _, shown = command.partition("\n")
        if found := COMMAND.fullmatch(line.partition("  #")[0].rstrip()):
            done = subprocess.run(
                [sys.executable, *found[1].split()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                cwd=ROOT,
                env=environment(),
            )
            assert not shown.strip() or matches(shown, done.stdout), (line, done.stdout)
