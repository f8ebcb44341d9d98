"""Finds the CPythons this machine has, for the Makefile.

    python tools/interpreters.py          the versions found, e.g. "3.11 3.12"
    python tools/interpreters.py 3.12     the path of that one

The interpreter that runs this file is one of them.  The others are looked for on PATH
(as python3.12, say) and among pyenv's.  A name on PATH may be a shim for a version that is not
switched on, so each candidate is asked what it is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
ASK = (
    "import sys; assert sys.implementation.name == 'cpython'; print('%d.%d' % sys.version_info[:2])"
)


def candidates(version: str) -> Iterator[str]:
    if version == OURS:
        yield sys.executable
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")))


def is_version(path: str, version: str) -> bool:
    answer = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == version


def find(version: str) -> str | None:
    return next((path for path in candidates(version) if is_version(path, version)), None)


def main() -> int:
    if len(sys.argv) == 1:
        print(*(version for version in SUPPORTED if find(version)))
        return 0
    path = find(sys.argv[1])
    if path is None:
        print(f"there is no CPython {sys.argv[1]} here", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
