"""The package as a whole: its names, its stub, its version."""

import ast
import graphlib
import importlib.metadata
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import weft
from weft import _core

STUB = Path(weft.__file__).with_name("_core.pyi")


def documented(body):
    """The functions and classes of a stub, with those inside classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from documented(node.body)


def test_all_names_exist_and_are_sorted():
    assert weft.__all__ == sorted(weft.__all__)
    assert all(hasattr(weft, name) for name in weft.__all__)


def test_nothing_else_is_public():
    public = {name for name in vars(weft) if not name.startswith("_")}
    assert {name for name in public if not inspect.ismodule(getattr(weft, name))} == set(
        weft.__all__
    )


def test_stub_names_everything_and_describes_it():
    nodes = ast.parse(STUB.read_text(encoding="utf-8")).body
    compiled = {name for name in weft.__all__ if hasattr(_core, name)}
    assert compiled <= {node.name for node in documented(nodes)}
    assert [
        node.name
        for node in documented(nodes)
        if not node.name.startswith("__") and not ast.get_docstring(node)
    ] == []


NOT_CALLED = {"GreenThread", "Deadlock", "Cancelled", "ShutDown"}  # the program is given instances
NOT_CALLED |= {"local"}  # threading's own


@pytest.mark.parametrize("name", sorted(set(weft.__all__) - NOT_CALLED))
def test_functions_can_be_asked_for_help(name):
    function = getattr(weft, name)
    assert function.__doc__
    assert inspect.signature(function) is not None


def imported(path):
    """Which of weft's modules a file imports when it is imported itself; "" for the facade."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "weft":
            names = [f"weft.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "weft":
                yield name.removeprefix("weft").removeprefix(".")


def test_arrows_point_one_way_and_none_to_the_facade():
    # `from weft import _core` names a module: the package is only the way to it.
    paths = [path for path in STUB.parent.glob("*.py") if path.stem != "__init__"]
    arrows = {path.stem: set(imported(path)) for path in paths}
    modules = {*arrows, "_core"}
    assert {stem: names - modules for stem, names in arrows.items() if names - modules} == {}
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError


def test_version_is_the_installed_one():
    assert weft.__version__ == importlib.metadata.version("weft")


def test_package_says_that_it_is_typed():
    assert STUB.with_name("py.typed").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_stub_agrees_with_the_module(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "weft._core"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
