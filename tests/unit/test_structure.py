"""What the shape of the source tree has to be: networks are data, engines are contracts, modules are small."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("vs_smsr", "cupy_kernels") for path in (ROOT / package).rglob("*.py"))
FAMILY = {"families/smsr.py", "families/__init__.py", "network/smsr.py"}  # may know SMSR's own numbers
MOST_LINES = 400


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "vs_smsr").as_posix() if "vs_smsr" in path.parts else path.name


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports from this package, at its top and where it runs alike."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_constants_of_one_network_stay_with_its_family(path):
    """Others may take a family's spec (and ask it), never its numbers."""
    constants = {name for name in imported(path) if re.fullmatch(r"vs_smsr\.families\.smsr\.[A-Z_]+", name)}
    assert not constants or name_of(path) in FAMILY


@pytest.mark.parametrize("path", [path for path in SOURCES if "training" not in path.parts], ids=name_of)
def test_engines_are_asked_by_their_contract(path):
    """No guessing at what an engine has, and no names of devices outside the engines."""
    inside = "engine" in path.parts or "cupy_kernels" in path.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            assert inside or "engine" not in ast.unparse(node.args[0]), f"{path}:{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Compare) and not inside:
            sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
            assert not any(side.endswith("engine.device") for side in sides), f"{path}:{node.lineno}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_imports_make_no_circle():
    """Of modules, at import time: what is imported inside functions or for types alone does not count."""
    modules = {module_of(path): path for path in SOURCES}

    def top(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield full if full in modules else str(node.module)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from top(node.body)

    graph = {name: {other for other in top(tree(path).body) if other in modules} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for other in graph[name] - {name}:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_types_between_interpreter_and_engines_are_named():
    """No Any in what the interpreter and its strategies hand to an engine."""
    for name in ("engine/interpreter.py", "engine/staged.py", "engine/kept.py", "engine/contract.py"):
        for node in ast.walk(tree(ROOT / "vs_smsr" / name)):
            if isinstance(node, ast.FunctionDef):
                for argument in (*node.args.args, *node.args.kwonlyargs):
                    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                    assert annotation != "Any", f"{name}:{node.lineno}: {node.name}({argument.arg})"
