"""What lies behind the picture of a JPEG file is named."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow

from vs_smsr.media.images import read_image


def test_what_follows_a_jpeg_is_named(tmp_path, demo_clip) -> None:
    """A motion photo's film, with and without a phone's mark before it; another file; not padding, nor a thumbnail."""
    pixels = np.random.default_rng(4).integers(0, 255, (64, 80, 3), np.uint8)
    thumbnail = Pillow.Exif()
    thumbnail[0x010E] = "text"
    Pillow.fromarray(pixels).save(tmp_path / "plain.jpg", quality=95, exif=thumbnail, restart_marker_rows=1)
    plain, film = (tmp_path / "plain.jpg").read_bytes(), demo_clip.read_bytes()
    carried = "a film follows the picture in the file (a motion photo); it is not carried."
    cases = {
        plain: (),
        plain + bytes(7) + b"\r\n": (),
        plain + film: (carried,),
        plain + b"MotionPhoto_Data" + film: (carried,),
        plain + b"PK\3\4 and more": (
            "13 bytes of something else follow the picture in the file; they are not carried.",
        ),
    }
    for data, notes in cases.items():
        (tmp_path / "a.jpg").write_bytes(data)
        image = read_image(tmp_path / "a.jpg")
        assert image.notes == notes
        assert np.array_equal(image.pixels, np.asarray(Pillow.open(tmp_path / "plain.jpg")))
