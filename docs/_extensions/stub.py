"""The directive `stub`: describes public names from their docstrings, without importing anything.

    ```{stub} spawn GreenThread aio.run
    ```

weft's compiled names are described in full in `_core.pyi`, which says more than the strings
inside the compiled module; the others where they are written.  Both are read with `ast`, so that
the pages can be built where weft cannot run.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SOURCES = Path(__file__).parents[2] / "src" / "weft"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def homes(facade: str) -> dict[str, str]:
    """For each name that a module imports the file that describes it, as the module says."""
    found = {}
    for node in ast.walk(ast.parse((SOURCES / facade).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("weft"):
            module = node.module.rpartition(".")[2]
            stub = SOURCES / f"{module}.pyi"
            file = stub.name if stub.exists() else f"{module}.py"
            found |= {alias.asname or alias.name: file for alias in node.names}
    return found


def home(name: str) -> str:
    """The file that describes a name; what is in no module can only be something _core returns."""
    module, _, last = name.rpartition(".")
    if module:
        return homes(f"{module}.py").get(last, f"{module}.py")
    return homes("__init__.py").get(name, "_core.pyi")


def definitions(name: str) -> list[ast.stmt]:
    """What defines the name; of overloads those with a docstring, and the general one, which typing
    wants last, first.
    """
    file, last = SOURCES / home(name), name.rpartition(".")[2]
    found = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name == last
    ]
    if not found:
        raise LookupError(f"{file} does not define {name}")
    return [node for node in found[::-1] if ast.get_docstring(node)] or found


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> str:
    arguments = ast.parse(ast.unparse(node)).body[0].args  # a copy, to take `self` out of
    if method:
        (arguments.posonlyargs or arguments.args).pop(0)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}"


def indented(text: str) -> Iterator[str]:
    yield from (f"   {line}".rstrip() for line in text.splitlines())


def described(kind: str, head: str, text: str) -> Iterator[str]:
    yield from ("", f".. py:{kind}:: {head}", "")
    yield from indented(text)


def has(node: ast.stmt, decorator: str) -> bool:
    return any(ast.unparse(each) == decorator for each in node.decorator_list)


def members(node: ast.ClassDef) -> Iterator[str]:
    """The documented methods, properties and variables of a class."""
    for child, after in zip(node.body, [*node.body[1:], None], strict=True):
        text = ast.get_docstring(child) if isinstance(child, FUNCTION) else None
        if text and not child.name.startswith("_"):
            if has(child, "property"):
                head = f"{child.name}\n      :type: {ast.unparse(child.returns)}"
                yield from described("property", head, text)
            else:
                head = child.name + signature(child, method=True)
                yield from described("method", head, text)
        if isinstance(child, ast.AnnAssign) and isinstance(after, ast.Expr):
            head = f"{child.target.id}\n      :type: {ast.unparse(child.annotation)}"
            yield from described("attribute", head, inspect.cleandoc(after.value.value))


def description(name: str) -> Iterator[str]:
    full_name = f"weft.{name}" if "." in name or name in homes("__init__.py") else name
    for i, node in enumerate(definitions(name)):
        text = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            yield from described("class", full_name, text)
            for line in members(node):
                yield f"   {line}".rstrip()
        else:
            again = "\n   :no-index:" if i else ""
            head = full_name + signature(node, method=False) + again
            yield from described("function", head, text)


class Stub(SphinxDirective):
    required_arguments = 1
    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        described = [line for name in self.arguments for line in description(name)]
        lines = ["```{eval-rst}", *described, "```"]  # docstrings are no Markdown
        node = nodes.Element()
        self.state.nested_parse(StringList(lines, source="docstrings"), 0, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("stub", Stub)
    return {"parallel_read_safe": True}
