"""The import rule of docs/architecture.md, read from its table and held against every import in the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FREE = {"options", "errors", "families", "weights", "version"}  # everybody may import these
HEAVY = {"torch": {"network", "training", "engine.reference"}, "cupy": {"cupy_kernels", "engine.cuda"}}
SOURCES = sorted(path for package in ("vs_smsr", "cupy_kernels") for path in (ROOT / package).rglob("*.py"))


def rule() -> dict[str, set[str]]:
    """Package (or package.module) -> what it may import besides FREE."""
    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("| package | may import") :].split("\n\n")[0].splitlines()[2:]
    allowed: dict[str, set[str]] = {}
    for line in table:
        names, may = (cell.strip() for cell in line.strip("|").split("|"))
        for part in re.findall(r"([\w.]+): ([\w., ]+)", may):  # (engine.reference: network; ...)
            allowed[part[0]] = set(part[1].split(", "))
        plain = re.sub(r"\(.*\)", "", may).strip()
        for name in names.split(", "):
            allowed[name] = set() if plain in ("", "nothing of ours") else set(plain.split(", "))
    return allowed


def module_of(path: Path) -> str:
    """vs_smsr/engine/cpu/ops.py -> engine.cpu.ops; cupy_kernels/x.py -> cupy_kernels.x"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "vs_smsr" else parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that is imported, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(path: Path, allowed: dict[str, set[str]]) -> list[str]:
    module = module_of(path)
    package = module.split(".")[0]
    if package in ("", "__main__"):  # the public names, lazily; and the program
        return []
    may = FREE | {package} | allowed.get(package, set())
    for name, extra in allowed.items():
        if "." in name and (module == name or module.startswith(f"{name}.")):
            may |= extra
    found = []
    for line, name in imports(path):
        top, *rest = name.split(".")
        ours = rest[0] if top == "vs_smsr" else "cupy_kernels" if top == "cupy_kernels" else None
        if ours is not None and ours not in may and ours != "__version__":
            found.append(f"{path.relative_to(ROOT)}:{line}: {package} may not import {ours}")
        heavy = HEAVY.get(top)
        if heavy is not None and not any(module == h or module.startswith(f"{h}.") for h in heavy):
            found.append(f"{path.relative_to(ROOT)}:{line}: {module} may not import {top}")
    return found


def test_the_table_covers_every_package():
    packages = {module_of(path).split(".")[0] for path in SOURCES} - FREE - {"", "__main__"}
    allowed = rule()
    assert packages <= set(allowed), "add a row to the table in docs/architecture.md"
    assert allowed["network"] == set()
    assert allowed["engine.reference"] == {"network"}
    assert "media" in allowed["jobs"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path) or "vs_smsr")
def test_imports_keep_the_rule(path):
    assert violations(path, rule()) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("tiling/x.py", "from vs_smsr.media import images"),
        ("media/x.py", "def f():\n    import vs_smsr.engine"),
        ("engine/cpu/x.py", "import torch"),
        ("engine/cpu/x.py", "from vs_smsr import network"),
        ("tiling/y.py", "from vs_smsr.jobs.report import Report"),
    ],
)
def test_the_check_finds_what_it_should(tmp_path, monkeypatch, module, text):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "vs_smsr" / module
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.undo()
    allowed = rule()
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert len(violations(path, allowed)) == 1


@pytest.mark.parametrize("module", ["vs_smsr", "vs_smsr.cli.app"])
def test_what_must_be_quick_imports_nothing_heavy(module):
    """`import vs_smsr` and `vs-smsr --help` come at once: nothing large is loaded for them."""
    heavy = {"av", "cupy", "cv2", "numba", "safetensors", "torch", "vapoursynth"} | (
        {"numpy"} if "cli" in module else set()
    )
    code = f"import sys, {module}; print(*({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == []
