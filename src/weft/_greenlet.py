"""Greenlets inside green threads: sees to it that greenlet is hooked before anybody uses it.

greenlet remembers, in a thread-local variable of its C code, on whose C stack it is.  weft gives
each green thread a set of those variables, by hooks in greenlet's own object; to greenlet every
green thread is then a thread, as it is to Python, and SQLAlchemy's asyncio layer, Playwright and
gevent work in any of them.

The hooks are set in what is loaded when the first green thread is spawned.  If greenlet is
imported later, the finder below sets them between its loading and its first use.  A build of greenlet that the
hooks do not reach is refused with an ImportError: the alternative is a crash.

docs/design/0013-greenlet.md has what was tried.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from types import ModuleType

from weft import _core

EXTENSION = "greenlet._greenlet"


class _Loader(ExtensionFileLoader):
    """Loads greenlet's C code, and has it hooked."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = super().create_module(spec)
        try:
            _core._rescan()
        except RuntimeError as refusal:
            raise ImportError(str(refusal), name=self.name, path=self.path) from None
        return module


class _Finder(MetaPathFinder):
    """Finds greenlet's C code where it is, but names our loader for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder())
