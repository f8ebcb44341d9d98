"""Refuses a build of greenlet that cannot be used in green threads, when it is imported.

greenlet remembers, in a thread-local variable of its C code, on whose C stack it is.  weft gives
each green thread such variables of its own, by a hook in greenlet's object (the policy
"own-thread-locals"); to greenlet every green thread is then a thread, as it is to Python, and
SQLAlchemy's asyncio layer, Playwright and gevent work in any of them.

A build that the hook does not reach (a compiler may be told to find such variables another way)
would crash the second green thread to use it.  If it was imported before the first spawn, that
spawn, or `weft.install`, raises RuntimeError.  If it is imported later, the finder below makes the
import fail: whoever can do without greenlet then does.

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
    """Loads greenlet's C code, and then looks whether the hook is in it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = super().create_module(spec)
        try:
            _core._refuse_unkept()
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
