"""The frames of a job's source.

They are decoded from the first on, so that each is what it is in a run that nothing interrupts, whatever the file's key
frames, clock or damage are; beside the network that costs little. Only who makes a single chunk begins near it, where
`media.ranges` finds a key frame after which nothing older counts, and no lost frame can have changed the numbers: not
in broadcasts, with `damaged="keep"`, deinterlacing, ranges or scripts.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from pathlib import Path

import av

from vs_smsr.errors import MediaError
from vs_smsr.jobs.folder import Ending, Manifest
from vs_smsr.media.reader import Reader, VideoInfo
from vs_smsr.media.script_source import is_script
from vs_smsr.options import Range


class Frames:
    """Frames in order, of which some may be seen before they are taken.

    Args:
        at: number of the reader's first frame.
        info: of the whole source; None: the reader's.

    Attributes:
        at: number of the next frame.
        info: of the source.
        entered: the source was not decoded from its first frame on.
    """

    def __init__(self, reader: Reader, at: int = 0, info: VideoInfo | None = None) -> None:
        self._reader = reader
        self.at, self.info, self.entered = at, info or reader.info, info is not None
        self._shift = reader.shift if self.entered else 0  # a part begins at 0, the frames of a job do not
        self._frames = iter(reader)
        self._waiting: deque[av.VideoFrame] = deque()

    def close(self) -> None:
        self._reader.close()

    def look(self, wanted: int) -> int:
        """How many of so many next frames there are."""
        while len(self._waiting) < wanted and (frame := next(self._frames, None)) is not None:
            assert frame.pts is not None, "the reader gives every frame a time"
            frame.pts += self._shift
            self._waiting.append(frame)
        return min(wanted, len(self._waiting))

    def take(self) -> av.VideoFrame:
        """The next frame, which `look` has found."""
        self.at += 1
        return self._waiting.popleft()

    def following(self, wanted: int) -> list[av.VideoFrame]:
        """The next frames, so many if there are; they stay."""
        return list(itertools.islice(self._waiting, self.look(wanted)))

    def ending(self) -> Ending:
        """What is known when all frames have been decoded and none is left."""
        reader, filters = self._reader, self._reader.filters
        return Ending(
            self.at,
            {
                "notes": reader.notes,
                "damage": dataclasses.asdict(reader.damage),
                "cropped": filters.crop and dataclasses.asdict(filters.crop),
                "deinterlaced": filters.interlaced if filters.deinterlace else 0,
            },
        )


def all_frames(manifest: Manifest) -> Frames:
    """From the first on.

    Raises:
        MediaError: the source cannot be read.
    """
    options = manifest.video_options()
    return Frames(Reader(Path(manifest.source), options.damaged, options.deinterlace, options.range))


def frames_at(manifest: Manifest, start: int) -> Frames:
    """From frame `start` on, where they are known to be the same as all frames from there; else all.

    Raises:
        MediaError: the source cannot be read.
    """
    options, source = manifest.video_options(), Path(manifest.source)
    whole = Reader(source, options.damaged, options.deinterlace, options.range)
    changed = whole.is_broadcast or options.damaged == "keep" or options.deinterlace or bool(options.range)
    if not start or changed or is_script(source):
        return Frames(whole)
    try:
        part = Reader(source, options.damaged, part=Range(first=start))
    except MediaError:  # who reads all of it tells what is wrong
        return Frames(whole)
    if not part.entered:
        part.close()
        return Frames(whole)
    whole.close()
    return Frames(part, start, whole.info)
