"""The text of the .cu files, as it is compiled: our own headers spliced in, `#line` for readable errors."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_INCLUDE = re.compile(r'^#include "([\w.]+)"$')


@cache
def text(file: str, replace: tuple[tuple[str, str], ...] = ()) -> str:
    """The source of a .cu file of this package with every `#include "x.cuh"` replaced by that file's text, once each.

    CuPy's disk cache hashes the text, not the headers that it includes: with headers spliced in, an edited header
    compiles anew. `replace` gives other texts for headers, as (name, text): tests put another primitives.cuh in.
    """
    seen: set[str] = set()

    def splice(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        body = dict(replace).get(name)
        if body is None:
            body = resources.files(__package__).joinpath(name).read_text("utf-8")
        lines = [f'#line 1 "{name}"']
        for number, line in enumerate(body.splitlines(), 1):
            match = _INCLUDE.match(line)
            if match:
                lines += [splice(match[1]), f'#line {number + 1} "{name}"']
            elif line.strip() != "#pragma once":
                lines.append(line)
            else:
                lines.append("")
        return "\n".join(lines)

    return splice(file) + "\n"
