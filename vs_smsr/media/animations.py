"""Animated GIF, PNG, WebP and AVIF: frames with the times they are shown, by Pillow both ways."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from vs_smsr.errors import MediaError
from vs_smsr.media import metadata as meta
from vs_smsr.media.image_files import GIF_NOTE, QUALITY
from vs_smsr.media.images import ANIMATED, FORMATS, opened
from vs_smsr.media.metadata import NAMES, Metadata, with_metadata

Pixels = NDArray[np.uint8]
LARGEST = 1 << 26  # pixels of a frame; a damaged header tells of any size
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "GIF": {"disposal": 2},  # each frame is drawn on nothing, so that clear pixels stay clear
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": QUALITY, "subsampling": "4:4:4"},
}


@dataclass(frozen=True)
class Animation:
    """An animation, open for reading; its frames may be read more than once.

    Attributes:
        picture: the file as Pillow has it; data: its bytes.
        numbers: of the frames in the file; those that are left out are not read.
        loop: how often it is shown; 0 = for ever.
        metadata: what the file says beside its frames.
        notes: what of the file is not carried, one line each.
    """

    picture: Pillow.Image
    data: bytes
    numbers: Sequence[int]
    loop: int
    metadata: Metadata
    notes: tuple[str, ...]

    def frames(self) -> Iterator[tuple[Pixels, float]]:
        """(H, W, 3) RGB or (H, W, 4) RGB with straight alpha, uint8, drawn whole; and milliseconds.

        Raises:
            MediaError: a frame is damaged.
        """
        picture = Pillow.open(io.BytesIO(self.data))  # one that was read cannot go back in every format
        for number in self.numbers:
            try:
                with warnings.catch_warnings(action="ignore"):
                    picture.seek(number)
                    picture.load()
                    duration = float(picture.info.get("duration") or 0)
                    frame = np.array(picture.convert("RGBA"))
            except MemoryError:
                raise
            except Exception as error:
                raise MediaError(f"frame {number + 1} is damaged ({error}).") from error
            yield (frame if frame[..., 3].min() < 255 else np.ascontiguousarray(frame[..., :3])), duration


def open_animation(path: Path) -> Animation:
    """Open an animation.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        with warnings.catch_warnings(action="ignore"), opened(io.BytesIO(data), path.suffix) as picture:
            if picture.width * picture.height > LARGEST:
                raise MediaError(f"frames of {picture.width}x{picture.height} are too large for an animation")
            first = int(bool(picture.info.get("default_image")))
            numbers = range(first, getattr(picture, "n_frames", 1))
            picture.load()
            notes = ("the picture for viewers that show no animation is not carried.",) if first else ()
            if picture.format == "PNG":
                meta.check_png(data)
            if picture.format == "GIF" and not data.rstrip(b"\0").endswith(b";"):
                notes = ("the GIF has no end mark: it may be cut off, and frames be missing.",)
            loop = picture.info.get("loop", 0 if picture.format in ("AVIF", "WEBP") else 1)
            if picture.format == "GIF" and "loop" in picture.info and loop:
                loop += 1  # GIF counts repetitions after the first showing
            return Animation(picture, data, numbers, loop, meta.of_picture(picture, data), notes)
    except MemoryError:
        raise
    except OSError as error:
        raise MediaError(f"{path}: cannot read: {error.strerror or error}.") from error
    except Exception as error:
        raise MediaError(f"{path}: cannot decode: {error}; the file is damaged.") from error


def check_animation(path: Path) -> None:
    """Can an animation be written under this name?

    Raises:
        MediaError: it cannot.
    """
    if FORMATS.get(path.suffix.lower()) not in ANIMATED:
        raise MediaError(f"{path}: cannot hold an animation. Choose .png, .webp, .gif, .avif, .mkv or .mp4.")


def _whole(form: str, duration: float) -> float:
    """Milliseconds as the format counts: APNG knows fractions."""
    return duration if form == "PNG" else round(duration)


def encode_animation(
    frames: Sequence[Pixels], durations: Sequence[float], source: Animation, path: Path
) -> tuple[bytes, list[str]]:
    """The bytes of an animation in the format of the path's ending, and what the format could not hold.

    Args:
        frames: (H, W, 3) or (H, W, 4), all of one size.
        durations: milliseconds of each.
        source: whose metadata and loop to keep.

    Raises:
        MediaError: it cannot be encoded.
    """
    check_animation(path)
    form = FORMATS[path.suffix.lower()]
    holds = {"PNG": tuple(NAMES), "WEBP": ("exif", "icc", "xmp"), "AVIF": ("exif", "icc", "xmp")}.get(form, ())
    dropped = source.metadata.dropped_by(holds)
    notes = [f"the {NAMES[name]} is not kept: it cannot be written into {form}." for name in dropped]
    metadata = source.metadata.without(*dropped)
    options = {**_OPTIONS[form], "save_all": True, "duration": [_whole(form, duration) for duration in durations]}
    if form == "GIF":
        notes.append(GIF_NOTE)
        if source.loop != 1:
            options["loop"] = max(source.loop - 1, 0)
    elif form != "AVIF":
        options["loop"] = source.loop
    elif source.loop:
        notes.append(f"the number of {source.loop} showings is not kept: AVIF is shown for ever.")
    if form in ("WEBP", "AVIF"):
        blocks = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
        options |= {name: block for name, block in blocks.items() if block}
    alpha = any(frame.shape[2] == 4 for frame in frames)
    first, *others = (Pillow.fromarray(frame).convert("RGBA" if alpha else "RGB") for frame in frames)
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(action="ignore"):
            first.save(file, form, append_images=others, **options)
    except MemoryError:
        raise
    except Exception as error:
        raise MediaError(f"{path}: cannot encode the animation as {path.suffix}: {error}.") from error
    data = file.getvalue()
    return (with_metadata(data, metadata) if form == "PNG" else data), notes
