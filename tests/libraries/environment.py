"""The virtual environments the libraries are in: .venv/libraries-VERSION to measure them, and
.venv/suites-VERSION for their own test-suites, which want much else.

weft in it is built from this checkout, as a user would have it.  The command itself runs in it too,
once it exists, so `enter` starts the command a second time with that interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import debian

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from case import Case
    from web_case import WebCase

REPO = Path(__file__).resolve().parents[2]
# What builds weft and what prints the table.  setuptools and wheel: for libraries without a wheel.
TOOLS = ["meson-python>=0.16", "ninja", "rich>=13", "setuptools", "wheel"]

PIP_SECONDS = 600


def say(text: str) -> None:
    """What we are about goes to standard error, results to standard output."""
    print(text, file=sys.stderr, flush=True)


def enter(version: str, *, build: bool, name: str = "libraries") -> None:
    """Return in the environment of that version; outside of it, make it and start again there."""
    folder = REPO / ".venv" / f"{name}-{version}"
    if Path(sys.prefix) == folder:
        return
    python = folder / "bin" / "python"
    if not (folder / ".tools").exists():
        say(f"making {folder.relative_to(REPO)} ...")
        subprocess.run([interpreter(version), "-m", "venv", folder], check=True)
        pip(python, "install", *TOOLS)
        (folder / ".tools").touch()
    if build:
        say("building weft ...")
        build_weft(python, folder)
    os.execv(python, [str(python), *sys.argv])


def interpreter(version: str) -> str:
    finder = [sys.executable, str(REPO / "tools" / "interpreters.py"), version]
    found = subprocess.run(finder, check=False, stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        sys.exit(1)  # it has said why
    return found.stdout.strip()


def build_weft(python: Path, folder: Path) -> None:
    """Without build isolation, so that meson compiles only what has changed."""
    os.environ["PATH"] = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"
    pip(
        python,
        *("install", "--no-build-isolation", "--no-deps", "--force-reinstall"),
        *(f"--config-settings=build-dir=build/{folder.name}", str(REPO)),
    )


def pip(python: str | Path, *arguments: str, extra: dict[str, str] | None = None) -> None:
    """Raises RuntimeError with what pip has to say."""
    try:
        done = subprocess.run(
            [str(python), "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"],
            check=False,
            capture_output=True,
            text=True,
            cwd=REPO,
            env=os.environ | (extra or {}),
            timeout=PIP_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"pip: no end in {PIP_SECONDS} s") from error
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"pip: status {done.returncode}")


# --- the libraries --------------------------------------------------------------------------------


def provide(cases: Iterable[Case | WebCase]) -> dict[str, str]:
    """Install what the cases name; the reasons, by case, where that cannot be done."""
    missing = {}
    for case in cases:
        try:
            install(case)
        except (RuntimeError, debian.UnavailableError) as error:
            missing[case.key] = f"no {' '.join(case.packages)}: {str(error).splitlines()[-1]}"
    return missing


def install(case: Case | WebCase) -> None:
    """Unless that was done before: what is installed stays, so that numbers can be compared."""
    for package in case.debian:
        debian.provide(package)
    places = {"root": debian.ROOT, "libraries": debian.LIBRARIES}
    extra = {name: value.format(**places) for name, value in case.pip_environment.items()}
    install_packages(case.packages, extra)


def install_packages(packages: Sequence[str], extra: dict[str, str] | None = None) -> None:
    """Unless that was done before."""
    names = " ".join(packages)
    stamp = Path(sys.prefix) / f".installed-{names}".replace("/", "_")
    if not names or stamp.exists():
        return
    say(f"installing {names} ...")
    pip(sys.executable, "install", *packages, extra=extra)
    stamp.touch()
