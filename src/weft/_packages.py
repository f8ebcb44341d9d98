"""What `weft doctor` says of packages that weft cannot treat like any other.

Each check below knows one of them.  It says nothing if the package is not there, gives a note if it
is merely installed, and judges it once it is imported.
"""

import importlib.metadata
import os
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType

from weft import _core
from weft._finding import Finding


def findings() -> list[Finding]:
    """What is to be said of the packages imported and installed here."""
    found = [
        *_patched(),
        *_grpc(),
        *_greenlet(),
        *_uvloop(),
        *_openssl_inside(),
        *_interposers(),
    ]
    return found or [Finding("ok", "None that weft would have to treat in a special way.")]


# --- One package each --------------------------------------------------------------------


def _patched() -> list[Finding]:
    """Whether gevent or eventlet has replaced what weft would make park."""
    gevent = getattr(sys.modules.get("gevent.monkey"), "saved", None)
    eventlet = getattr(sys.modules.get("eventlet.patcher"), "already_patched", None)
    return [
        Finding(
            "problem",
            f"{name} has replaced parts of the standard library: threading.Thread makes greenlets, "
            "and what waits waits for its loop.",
            f"Take out the call of {call}: with weft the standard library's own modules park.",
            tuple(sorted(map(str, patched))),
        )
        for name, call, patched in (
            ("gevent", "gevent.monkey.patch_all()", gevent),
            ("eventlet", "eventlet.monkey_patch()", eventlet),
        )
        if patched
    ]


def _grpc() -> list[Finding]:
    """It is excluded: policy.c says why."""
    what = (
        "weft leaves gRPC alone, because it keeps the identity of its threads in thread-local "
        "storage: a blocking call of it holds up every green thread of its OS thread."
    )
    advice = (
        "Make its calls through weft.to_thread, or in threads started inside weft.os_threads()."
    )
    if "grpc._cython.cygrpc" in sys.modules:
        return [Finding("problem", f"{_imported('grpc', 'grpcio')}: {what}", advice)]
    return _if_installed("grpcio", what, advice)


def _greenlet() -> list[Finding]:
    """Whether each green thread has greenlets of its own; _greenlet.py has the idea."""
    if "greenlet._greenlet" not in sys.modules:
        return []
    package = _imported("greenlet", "greenlet")
    if any("__tls_get_addr" in names for _, _, _, names in _core._hooked_objects()):
        return [Finding("ok", f"{package}: each green thread has greenlets of its own.")]
    what = "weft cannot give each green thread greenlets of its own with this build of it."
    advice = "Install the one from PyPI: pip install --force-reinstall --no-cache-dir greenlet"
    return [Finding("problem", f"{package}: {what}", advice)]


def _uvloop() -> list[Finding]:
    what = (
        "loops in several green threads work, but two that start subprocesses at the same moment "
        'fail with "Racing with another loop to spawn a process".'
    )
    if "uvloop" in sys.modules:
        return [Finding("note", f"{_imported('uvloop', 'uvloop')}: {what}")]
    return _if_installed("uvloop", what)


def _openssl_inside() -> list[Finding]:
    """OpenSSL linked statically: weft finds its own way to every other copy."""
    if "cryptography.hazmat.bindings._rust" not in sys.modules:
        return []
    what = (
        "its OpenSSL never blocks, which is well, but is linked in where weft cannot see it: green "
        "threads of one OS thread share its queue of errors."
    )
    return [Finding("note", f"{_imported('cryptography', 'cryptography')}: {what}")]


def _interposers() -> list[Finding]:
    """Libraries that stand between the program and libc as weft does."""
    libraries = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    if not libraries:
        return []
    what = "weft calls them where they replace a function of libc, and their own waiting may park."
    return [Finding("note", f"LD_PRELOAD brings in {', '.join(libraries)}: {what}")]


# --- Who is there ------------------------------------------------------------------------


def _imported(module: str, distribution: str) -> str:
    """Its name, its version, and by whom it is imported."""
    name = " ".join(filter(None, (distribution, _version(distribution))))
    users = importers(module)
    return f"{name}, imported by {_listed(users)}" if users else name


def _if_installed(distribution: str, what: str, advice: str = "") -> list[Finding]:
    version = _version(distribution)
    if version is None:
        return []
    text = f"{distribution} {version} is installed, but not imported: {what}"
    return [Finding("note", text, advice)]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def importers(package: str) -> list[str]:
    """The packages with a module in which `package`, or something out of it, has a name."""
    users = {
        _top(name)
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and _uses(module, package)
    }
    return sorted(users - {package, "weft"})


def _uses(module: ModuleType, package: str) -> bool:
    for value in list(vars(module).values()):
        home = value.__name__ if isinstance(value, ModuleType) else _home(value)
        if _top(home) == package:
            return True
    return False


def _home(value: object) -> str:
    """The module that defined a class or a function."""
    if not isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return ""
    home = getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""


def _top(name: str) -> str:
    return name.partition(".")[0]


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
