"""Checks that links between the project's Markdown files lead somewhere.

    python tools/check_links.py README.md docs/*.md ...

A link to a file must name one that exists, a link to a section one of its headings.  Links to
the web are left alone: whether they work is not ours to decide, and not the same tomorrow.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
WEB = re.compile(r"[a-z]+:")


def anchor(heading: str) -> str:
    """The name a heading gets when it is shown on the web."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(file: Path) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(file.read_text(encoding="utf-8"))}


def broken(file: Path) -> Iterator[str]:
    """The links of this file that lead nowhere."""
    text = CODE.sub("", file.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if WEB.match(target):
            continue
        name, _, section = target.partition("#")
        other = file.parent / name if name else file
        if not other.exists() or (section and section not in anchors(other)):
            yield f"{file}: {target}"


def main() -> int:
    files = [Path(name) for name in sys.argv[1:]]
    failures = [failure for file in files for failure in broken(file)]
    for failure in failures:
        print(failure, "leads nowhere")
    if not failures:
        print(f"{len(files)} files, every link leads somewhere")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
