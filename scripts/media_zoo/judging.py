"""What of a source is not in its result: fine where the program's notes name it, else a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from media_zoo.probe import Packet, Probed, is_cover, tags_of

# Of the old file, its muxer or its encoder: not true of another file.
NOT_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "handler_name"}
STATISTICS = ("bps", "number_of_", "_statistics_")
# Kinds of side data that a viewer would miss.
SEEN = ("Mastering display metadata", "Content light level metadata", "Display Matrix", "Stereo 3D")
NEAR = 0.0011  # seconds; Matroska counts in 0.001
LEAD = 0.1  # seconds that all streams together may start earlier, so that a result starts at 0
ALIKE = 6  # mean difference of two pictures in 8-bit code values; what encoders lose is below 4
ANIMATIONS = ("gif", "apng", "webp_pipe")  # whose writers show a frame longer instead of repeating it
FEWER_FRAMES = r"\d+ (of \d+ )?frames?\b|frames? .*(lost|left out|missing)|\bframes?: \d"
COLOUR = {
    "color_space": "matrix",
    "color_range": "range",
    "color_primaries": "primaries",
    "color_transfer": "transfer",
    "chroma_location": "chroma",
}


@dataclass(frozen=True)
class Difference:
    """What differs, and a pattern of what a note has to say for it to be fine."""

    what: str
    named_by: str


def faults(source: Probed, result: Probed, scale: int, notes: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what differs unsaid, what differs and is named), a line each."""
    text = "\n".join(notes).lower()
    unsaid: list[str] = []
    named: list[str] = []
    for difference in differences(source, result, scale):
        (named if re.search(difference.named_by, text) else unsaid).append(difference.what)
    return unsaid, named


def differences(source: Probed, result: Probed, scale: int) -> Iterator[Difference]:
    yield from _video(source, result, scale)
    offset, times = _times(source, result)
    yield from times
    yield from _streams(source, result, offset)
    yield from _tags("file", source.tags, result.tags)
    yield from _chapters(source, result, offset)


def _video(source: Probed, result: Probed, scale: int) -> Iterator[Difference]:
    merged = result.format in ANIMATIONS and _distinct(source) <= result.frames < source.frames
    if source.frames != result.frames and not merged:
        yield Difference(f"frames: {source.frames} became {result.frames}", FEWER_FRAMES)
    wanted = [source.video[side] * scale for side in ("width", "height")]
    found = [result.video[side] for side in ("width", "height")]
    if wanted != found:
        yield Difference(f"size: {found} instead of {wanted}", r"cropped|cut to|crop")
    elif source.frames == result.frames:
        if len(source.pictures) == len(result.pictures):
            unlike = np.abs(source.pictures - result.pictures).mean(axis=(1, 2, 3)) > ALIKE
            if unlike.any():
                yield Difference(f"pictures: {np.count_nonzero(unlike)} look different", "deinterlace|transparen")
        else:
            yield Difference(f"pictures: {len(source.pictures)} became {len(result.pictures)}", FEWER_FRAMES)
    before, after = (_components(one.video.get("pix_fmt", "")) for one in (source, result))
    if after.bits < before.bits:
        yield Difference(f"depth: {before.bits} bits became {after.bits}", r"\bbits\b")
    old_chroma, new_chroma = before.chroma_size(source.video), after.chroma_size(result.video)
    if any(new < old for old, new in zip(old_chroma, new_chroma, strict=True)):
        what = f"chroma: {old_chroma} samples in {source.video['pix_fmt']} became {new_chroma}"
        yield Difference(f"{what} in {result.video['pix_fmt']}", "chroma|subsampl")
    if before.alpha and not after.alpha:
        yield Difference("alpha is gone", "transparen|alpha")
    for name, word in COLOUR.items():
        old, new = source.of_first_frame(name), result.of_first_frame(name)
        meaningless = before.rgb or (name == "chroma_location" and after.chroma == 3)
        if old is not None and old != new and not meaningless:
            yield Difference(f"{name}: {old} became {new}", word)
    old, new = (one.of_first_frame("sample_aspect_ratio") for one in (source, result))
    if (old or "1:1") != (new or "1:1"):
        yield Difference(f"sample_aspect_ratio: {old} became {new}", "aspect")
    if source.of_first_frame("interlaced_frame") != result.of_first_frame("interlaced_frame"):
        yield Difference("interlaced became progressive", "interlaced")
    for kind in SEEN:
        old, new = source.side_data.get(kind), result.side_data.get(kind)
        if old is not None and (new is None or _unlike(old, new)):
            state = "is gone" if new is None else f"{old} became {new}"
            yield Difference(f"{kind}: {state}", kind.split()[0].lower() + "|rotation" * (kind == "Display Matrix"))


def _distinct(probed: Probed) -> int:
    """How many frames are unlike the one before."""
    return 1 + sum(not np.array_equal(*pair) for pair in pairwise(probed.pictures))


def _unlike(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """True if they differ in a number that both have."""
    return any(_ratio(old[name]) != _ratio(new[name]) for name in old.keys() & new.keys())


def _ratio(value: Any) -> Any:
    """ "1/2" as 0.5, rounded: containers keep the same numbers over different denominators."""
    if isinstance(value, str) and re.fullmatch(r"\d+/[1-9]\d*", value):
        numerator, denominator = map(int, value.split("/"))
        return round(numerator / denominator, 3)
    return value


@dataclass(frozen=True, order=True)
class _Components:
    """Of a pixel format: bits, chroma resolution (1: 4:2:0, 2: 4:2:2, 3: full), alpha, RGB."""

    bits: int
    chroma: int
    alpha: bool
    rgb: bool

    def chroma_size(self, stream: dict[str, Any]) -> tuple[int, int]:
        """(width, height) of a chroma plane; odd sides are rounded up."""
        if self.chroma == 0:
            return 0, 0
        width, height = stream["width"], stream["height"]
        return width if self.chroma == 3 else -(-width // 2), height if self.chroma >= 2 else -(-height // 2)


def _components(pix_fmt: str) -> _Components:
    rgb = bool(re.match(r"gbr|rgb|bgr|[a0]rgb|[a0]bgr|pal8", pix_fmt))
    sampling = re.search(r"4(20|22|44|10|11|40)", pix_fmt)
    chroma = {"44": 3, "22": 2}.get(sampling[1], 1) if sampling else 3 if rgb else 0
    if match := re.search(r"(?:p|gray)(9|1[0246])(?:le|be)?$", pix_fmt):
        bits = int(match[1])
    else:
        bits = 16 if re.search(r"(48|64)(le|be)$", pix_fmt) else 8
    return _Components(bits, chroma, "a" in pix_fmt.replace("gray", "").replace("pal", ""), rgb)


def _times(source: Probed, result: Probed) -> tuple[float, list[Difference]]:
    """(seconds from the source's clock to the result's, differences)."""
    near = max(NEAR, result.tick)
    known = [(old, new) for old, new in zip(source.times, result.times, strict=False) if old is not None]
    offsets = [new - old for old, new in known if new is not None]
    if not offsets:
        return 0.0, []
    first = offsets[0]
    found = []
    if abs(first) > max(near, LEAD):
        found.append(Difference(f"times: all are {first:+.3f} s off", r"\btimes|timestamps|clock|start"))
    moved = [offset - first for offset in offsets if abs(offset - first) > near]
    if moved and source.frames == result.frames:
        what = f"times: {len(moved)} frames moved, by up to {max(moved, key=abs):+.3f} s"
        found.append(Difference(what, r"\btimes?\b|timestamps|clock|discontinuit"))
    return first, found


def _streams(source: Probed, result: Probed, offset: float) -> Iterator[Difference]:
    left = [stream for stream in result.streams if stream is not result.video]
    for old in source.streams:
        if old is source.video:
            yield from _tags(f"stream #{old['index']}", tags_of(old), tags_of(result.video))
            yield from _disposition(old, result.video)
            continue
        where = f"stream #{old['index']} ({old['codec_type']} {old.get('codec_name', '')})"
        index = rf"#{old['index']}\b"
        if old["codec_type"] == "data" and old.get("codec_tag_string") == "tmcd":
            if not any(stream.get("codec_tag_string") == "tmcd" for stream in left):
                yield from _tags(where, tags_of(old), {**result.tags, **tags_of(result.video)})
            continue
        new = _twin(old, left, source, result)
        if new is None:
            yield Difference(f"{where}: is gone", index)
            continue
        left.remove(new)
        yield from _packets(where, index, old, new, source, result, offset)
        yield from _tags(where, tags_of(old), tags_of(new))
        yield from _disposition(old, new)
        if old["codec_type"] == "attachment" and old.get("extradata_hash") != new.get("extradata_hash"):
            yield Difference(f"{where}: its bytes differ", index)


def _twin(old: dict[str, Any], left: list[dict[str, Any]], source: Probed, result: Probed) -> dict[str, Any] | None:
    """The result's stream that is this one: of its kind, the first with the same packets, or the first at all."""
    alike = [new for new in left if (new["codec_type"], is_cover(new)) == (old["codec_type"], is_cover(old))]
    alike = [new for new in alike if new.get("codec_name") == old.get("codec_name")]
    hashes = [packet.hash for packet in source.packets[old["index"]]]
    same = [new for new in alike if [packet.hash for packet in result.packets[new["index"]]] == hashes]
    return next(iter(same or alike), None)


def _packets(
    where: str,
    index: str,
    old: dict[str, Any],
    new: dict[str, Any],
    source: Probed,
    result: Probed,
    offset: float,
) -> Iterator[Difference]:
    before, after = source.packets[old["index"]], result.packets[new["index"]]
    shown = [packet for packet in before if not packet.hidden]
    before = shown if len(shown) == len(after) else before
    if [packet.hash for packet in before] != [packet.hash for packet in after] and not (
        old["codec_type"] == "audio" and source.sound_hash(old["index"]) == result.sound_hash(new["index"])
    ):
        yield Difference(f"{where}: {len(before)} packets became {len(after)}, or their bytes differ", index)
    if len(before) == len(after) and not is_cover(old):
        off = [_apart(a, b, offset) for a, b in zip(before, after, strict=True)]
        most = max(off, key=abs, default=0.0)
        tick = 1 / int(new["time_base"].split("/")[1])
        if abs(most) > max(NEAR, tick, result.tick) + NEAR:
            yield Difference(
                f"{where}: up to {most:+.4f} s off beside the picture", rf"{index}.*time|clock|discontinuit"
            )


def _apart(old: Packet, new: Packet, offset: float) -> float:
    return 0.0 if old.time is None or new.time is None else new.time - old.time - offset


def _disposition(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    set_ = {name for name, value in old.get("disposition", {}).items() if value and name != "default"}
    lost = {name for name in set_ if not new.get("disposition", {}).get(name)}
    if lost:
        yield Difference(f"stream #{old['index']}: disposition {', '.join(sorted(lost))} is gone", "disposition")


def _tags(where: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Difference]:
    values = {value.strip() for value in new.values()}
    for name, value in old.items():
        if name in NOT_TAGS or name.startswith(STATISTICS) or value in ("und", ""):
            continue
        if name not in new and value.strip() not in values:
            yield Difference(f"{where}: tag {name}={value} is gone", re.escape(name))
        elif name in new and new[name].strip() != value.strip() and value.strip() not in values:
            yield Difference(f"{where}: tag {name}: {value!r} became {new[name]!r}", re.escape(name))


def _chapters(source: Probed, result: Probed, offset: float) -> Iterator[Difference]:
    def rounded(probed: Probed, by: float) -> list[tuple[float, float, str]]:
        return [(round(start + by, 2), round(end + by, 2), title) for start, end, title in probed.chapters]

    if rounded(source, offset) != rounded(result, 0):
        yield Difference(f"chapters: {source.chapters} became {result.chapters}", "chapter")
