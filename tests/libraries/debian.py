"""Programs and headers from Debian packages, without touching the system.

`provide(package)` asks apt what is missing for the package, fetches that, and unpacks it into a
folder of ours; nothing is installed and no package script runs.  `find(program)` prefers what the
system has.  Programs from our folder need `environment()` to find their libraries; it is for the
process of the server only, so that what is tested uses the system's own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build" / "debian"
ROOT = BUILD / "root"
LIBRARIES = ROOT / "usr/lib/x86_64-linux-gnu"

FOLDERS = ["usr/sbin", "usr/bin", "usr/lib/postgresql/*/bin"]
FETCH_SECONDS = 300


class UnavailableError(Exception):
    """Something cannot be had here; the message says why."""


def output_of(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=FETCH_SECONDS,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UnavailableError(f"{shlex.join(command[:2])}: {last}")
    return done.stdout


def missing_for(package: str) -> list[str]:
    """The package, if it is not installed, and what it needs that is not."""
    plan = output_of("apt-get", "install", "--simulate", "--no-install-recommends", package)
    steps = [line.split() for line in plan.splitlines()]
    return [step[1] for step in steps if step and step[0] == "Inst"]


def fetch(package: str) -> None:
    """Unpack one package into ROOT."""
    ROOT.mkdir(parents=True, exist_ok=True)
    output_of("apt-get", "download", package, "-o", "APT::Sandbox::User=root", folder=BUILD)
    archive = next(BUILD.glob(f"{package}_*.deb"))
    output_of("dpkg", "-x", str(archive), str(ROOT))
    archive.unlink()


def provide(package: str) -> None:
    """See that `package` and what it needs are installed, or unpacked in ROOT."""
    stamp = BUILD / f"{package}.complete"
    if stamp.exists():
        return
    for each in missing_for(package):
        fetch(each)
    BUILD.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def find(program: str, package: str) -> Path:
    """The program: the system's, or else ours, which is fetched if need be."""
    on_path = shutil.which(program)
    if on_path is not None:
        return Path(on_path).resolve()  # its neighbours are beside it
    found = look(program, Path("/"))
    if found is None:
        provide(package)
        found = look(program, ROOT)
    if found is None:
        raise UnavailableError(f"Debian's {package} has no {program}")
    return found


def look(program: str, root: Path) -> Path | None:
    return next((path for each in FOLDERS for path in root.glob(f"{each}/{program}")), None)


def environment() -> dict[str, str]:
    """For a program that `find` found."""
    return os.environ | {"LD_LIBRARY_PATH": str(LIBRARIES), "LC_ALL": "C.UTF-8"}
