"""One HTML file that shows pictures against each other; it holds all it needs and asks the network for nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from vs_smsr.media.targets import whole_or_nothing

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
QUALITY = 95  # of JPEG, without chroma subsampling
THUMBNAIL = 200  # pixels wide
ACTIVE, REUSED = (255, 96, 0), (40, 110, 255)


@dataclass(frozen=True)
class Scene:
    """Pictures of one moment, all of one size, one for each of the page's layers.

    Attributes:
        title, detail: what it is, in a few words.
        layers: (H, W, 3) uint8 RGB.
        overlays: for each layer (h, w, 4) uint8 RGBA to lay over it, or None.
    """

    title: str
    detail: str
    layers: Sequence[Picture]
    overlays: Sequence[Picture | None] = ()


@dataclass(frozen=True)
class Page:
    """What is on a page.

    Attributes:
        title, subtitle: of the page.
        layers: names of what can be seen left and right of the divider.
        left, right: which of them are, at first.
        scenes: at least one.
        table: the head and the rows of figures.
        notes: lines below.
        chart: an SVG element, or nothing.
        legend: what the overlay's colours mean; nothing: there are no overlays.
    """

    title: str
    subtitle: str
    layers: Sequence[str]
    left: int
    right: int
    scenes: Sequence[Scene]
    table: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    chart: str = ""
    legend: Sequence[tuple[tuple[int, int, int], str]] = field(default=())


def write_page(page: Page, target: Path, overwrite: bool) -> None:
    """Write it whole or not at all.

    Raises:
        OutputExistsError, MediaError: see `whole_or_nothing`.
    """
    with whole_or_nothing(target, overwrite) as temporary:
        temporary.write_text(render(page), encoding="utf-8")


def render(page: Page) -> str:
    """The page's text."""
    data = {
        "layers": list(page.layers),
        "left": page.left,
        "right": page.right,
        "scenes": [_scene(scene) for scene in page.scenes],
    }
    head, *rows = page.table
    parts = {
        "TITLE": escape(page.title),
        "SUBTITLE": escape(page.subtitle),
        "STYLE": part("page.css"),
        "SCRIPT": part("page.js"),
        "DATA": json.dumps(data).replace("<", "\\u003c"),
        "HEAD": "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head),
        "ROWS": "".join(_row(row, head) for row in rows),
        "NOTES": "".join(f"<p>{escape(note)}</p>" for note in page.notes),
        "CHART": page.chart,
        "LEGEND": "".join(_key(*entry) for entry in page.legend),
        "MASKS": " · <kbd>M</kbd> masks" if page.legend else "",
    }
    text = part("page.html")
    for name, value in parts.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def part(name: str) -> str:
    """A file beside this module."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def overlay(active: NDArray[np.float32], reused: NDArray[np.bool_]) -> Picture:
    """(h, w) each -> RGBA: where the network works, the stronger the more, and what was copied."""
    result = np.zeros((*active.shape, 4), np.uint8)
    result[..., :3] = ACTIVE
    result[..., 3] = np.rint(active * 190)
    result[reused] = (*REUSED, 90)
    return result


def _row(cells: Sequence[str], head: Sequence[str]) -> str:
    first, *rest = cells
    labelled = "".join(
        f'<td data-name="{escape(name)}">{escape(cell)}</td>' for name, cell in zip(head[1:], rest, strict=True)
    )
    return f"<tr><th scope=row>{escape(first)}</th>{labelled}</tr>"


def _key(colour: tuple[int, int, int], meaning: str) -> str:
    return f'<span><i style="background:rgb{colour}"></i>{escape(meaning)}</span>'


def _scene(scene: Scene) -> dict[str, object]:
    height, width = scene.layers[0].shape[:2]
    overlays = scene.overlays or [None] * len(scene.layers)
    small = Pillow.fromarray(scene.layers[-1])
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return {
        "title": scene.title,
        "detail": scene.detail,
        "width": width,
        "height": height,
        "thumbnail": _jpeg(small, 80),
        "layers": [_jpeg(Pillow.fromarray(layer), QUALITY) for layer in scene.layers],
        "overlays": [None if one is None else _png(one) for one in overlays],
    }


def _jpeg(picture: Pillow.Image, quality: int) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _png(picture: Picture) -> str:
    data = io.BytesIO()
    Pillow.fromarray(picture).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
