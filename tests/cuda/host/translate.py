"""What g++ cannot read in a kernel's text, turned into C++: asm statements, dynamic shared memory, the kernel table.

Works on preprocessed text (macros expanded, comments gone, `# line "file"` marks), and changes nothing else in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = "EMU_KERNEL_TEXT_BEGINS"  # the text after this word is the kernels'

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ASM = re.compile(r"\b(?:asm|__asm__)\b(?:\s|volatile\b|__volatile__\b)*\(")
_DYNAMIC = re.compile(
    r"\bextern\s+static\s+__attribute__\(\(section\(\"emu_shared\"\)\)\)\s*"
    r"(?:(?:__attribute__\(\(aligned\([^)]*\)\)\)|alignas\([^)]*\))\s*)?((?:\w+[\s:]+)*\w+)\s+(\w+)\s*\[\s*\]\s*;"
)
_KERNEL = re.compile(
    r'extern\s+"C"\s+EMU_KERNEL_MARK\s+(?:EMU_LAUNCH_BOUNDS\(((?:[^()]|\([^()]*\))*)\)\s*)?'
    r"void\s+(?:EMU_LAUNCH_BOUNDS\(((?:[^()]|\([^()]*\))*)\)\s*)?(\w+)\s*\("
)
_REGISTER = {"h": "std::uint16_t", "r": "std::uint32_t", "l": "std::uint64_t", "f": "float"}
_PTX_TYPE = {
    "pred": "bool",
    **dict.fromkeys(("b16", "u16", "s16", "f16", "bf16"), "std::uint16_t"),
    **dict.fromkeys(("b32", "u32", "s32", "f16x2"), "std::uint32_t"),
    **dict.fromkeys(("b64", "u64", "s64"), "std::uint64_t"),
    "f32": "float",
}


class PtxError(ValueError):
    """An asm statement that this translator does not understand."""


@dataclass(frozen=True)
class Operand:
    """One operand of an asm statement: its constraint ("=f", "r", "n", ...) and its C++ expression."""

    constraint: str
    expression: str

    def cpp(self) -> str:
        """The C++ expression that hands this operand to a function of ptx.h."""
        kind = self.constraint.lstrip("=+&")
        if kind == "n":
            return f"({self.expression})"
        if kind not in _REGISTER:
            raise PtxError(f"asm: the constraint {self.constraint!r} is not known")
        register = _REGISTER[kind]
        if self.constraint[0] in "=+":
            wrapper = "InOut" if self.constraint[0] == "+" else "Out"
            return f"::emu::{wrapper}<{register}>{{::emu::as_variable<{register}>({self.expression})}}"
        return f"::emu::as_register<{register}>({self.expression})"


def translate(preprocessed: str) -> str:
    """Preprocessed text to text that g++ compiles, a table of its kernels at the end.

    Raises:
        PtxError: an asm statement is not understood.
    """
    head, mark, text = preprocessed.partition(MARK)
    if not mark:
        raise ValueError(f"translate: the text must hold {MARK}")
    text = _DYNAMIC.sub(lambda m: f"{m[1]} *const {m[2]} = static_cast<{m[1]} *>(::emu::dynamic_shared());", text)
    text, table = _kernels(_asm_statements(text))
    return f"{head}\nnamespace {{\n{text}\n}}\n{table}"


def _kernels(text: str) -> tuple[str, str]:
    rows = []

    def strip(match: re.Match[str]) -> str:
        bounds = match[1] or match[2] or "0"
        name = match[3]
        rows.append(
            f'{{"{name}", [](void **args) {{ ::emu::call_kernel({name}, args); }}, '
            f"::emu::describe_all({name}), ::emu::first({bounds})}},"
        )
        return f"void {name}(" + "\n" * match[0].count("\n")

    text = _KERNEL.sub(strip, text)
    if "EMU_KERNEL_MARK" in text:
        raise ValueError('translate: kernels must be written as extern "C" __global__ void name(...)')
    text = re.sub(r"EMU_LAUNCH_BOUNDS\((?:[^()]|\([^()]*\))*\)", "", text)
    table = (
        "\nnamespace emu {\nconst Kernel kernels[] = {\n" + "\n".join(rows) + "\n{nullptr, nullptr, nullptr, 0}};\n"
        f"const int kernel_count = {len(rows)};\n}}\n"
    )
    return text, table


def _asm_statements(text: str) -> str:
    parts = []
    position = 0
    for match in _ASM.finditer(text):
        if match.start() < position:
            continue
        end = _closing(text, match.end())
        statement = text[match.end() : end]
        lines = "\n" * text[match.start() : end].count("\n")
        parts += [text[position : match.start()], _statement(statement), lines]
        position = end + 1
    return "".join(parts) + text[position:]


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one before start."""
    depth = 1
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[()]', text[start:]):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return start + match.start()
    raise PtxError("asm: a parenthesis is never closed")


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside of strings and brackets."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[()\[\]{}]|' + re.escape(separator), text):
        depth += 1 if match[0] in "([{" else -1 if match[0] in ")]}" else 0
        if match[0] == separator and depth == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _statement(statement: str) -> str:
    sections = _split(re.sub(r'^# \d+ ".*$', "", statement, flags=re.MULTILINE), ":")  # template, out, in, clobbers
    template = "".join(_STRING.findall(sections[0])).replace("\\n", "\n").replace("\\t", "\t")
    operands = []
    for section in sections[1:3]:
        for item in _split(section, ","):
            if not item.strip():
                continue
            match = re.fullmatch(r'\s*"([^"]*)"\s*\((.*)\)\s*', item, re.DOTALL)
            if not match:
                raise PtxError(f"asm: the operand {item.strip()!r} is not understood")
            operands.append(Operand(match[1], " ".join(match[2].split())))
    calls = " ".join(_instructions(template, operands))
    return (
        f"do {{ const ::emu::Site emu_site{{__builtin_FILE(), __builtin_LINE()}}; (void)emu_site; {calls} }} while (0)"
    )


def _instructions(template: str, operands: list[Operand]) -> list[str]:
    template = re.sub(r"//[^\n]*|/\*.*?\*/", " ", template, flags=re.DOTALL)
    calls: list[str] = []
    named: set[str] = set()
    for raw in template.split(";"):
        text = raw.strip()
        while text[:1] in ("{", "}"):  # a scope; groups of operands never begin an instruction
            text = text[1:].strip()
        if not text:
            continue
        declaration = re.fullmatch(r"\.reg\s+\.(\w+)\s+([\w\s,]+)", text)
        if declaration:
            names = [name.strip() for name in declaration[2].split(",")]
            named.update(names)
            calls += [f"{_PTX_TYPE[declaration[1]]} ptx_{name}; (void)ptx_{name};" for name in names]
            continue
        match = re.fullmatch(r"(?:@(!?)(\w+)\s+)?([a-z][\w.:]*)\s*(.*)", text, re.DOTALL)
        if not match:
            raise PtxError(f"asm: {text!r} is not understood")
        name = re.sub(r"\.L2::\w+", "", match[3]).replace(".shared::cta", ".shared").replace(".", "_")
        arguments = "".join(", " + _argument(a.strip(), operands, named) for a in _split(match[4], ",") if a.strip())
        guard = f"if ({match[1]}ptx_{match[2]}) " if match[2] else ""
        calls.append(f"{guard}::emu::ptx::{name}(emu_site{arguments});")
    return calls


def _argument(text: str, operands: list[Operand], named: set[str]) -> str:
    if text.startswith("{"):
        return "::emu::group(" + ", ".join(_argument(a.strip(), operands, named) for a in text[1:-1].split(",")) + ")"
    if text.startswith("["):
        base, _, offset = text[1:-1].partition("+")
        return f"::emu::address({_argument(base.strip(), operands, named)}" + (f", {offset})" if offset else ")")
    if text.startswith("%") and text[1:].isdigit():
        if int(text[1:]) >= len(operands):
            raise PtxError(f"asm: there is no operand {text}")
        return operands[int(text[1:])].cpp()
    if text in named:
        return f"::emu::named(ptx_{text})"
    if re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", text):
        return text
    raise PtxError(f"asm: the operand {text!r} is not understood")
