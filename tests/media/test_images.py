"""Image files against Pillow and tifffile: what is written by one must be read by the other, pixels and metadata."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import resource
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms

from vs_smsr.errors import MediaError, OutputExistsError
from vs_smsr.media.image_files import encode, write_image
from vs_smsr.media.images import Image, is_image, read_image
from vs_smsr.media.metadata import Metadata
from vs_smsr.media.targets import whole_or_nothing

HEIGHT, WIDTH = 33, 47
LOSSLESS = (".png", ".tif", ".TIFF", ".webp")


def pixels(channels: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Smooth colours, noisy alpha with clear and opaque parts."""
    rng = np.random.default_rng(seed)
    white = np.iinfo(dtype).max
    image = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH, 4)), (0, 0), 3)
    image = np.rint((image - image.min()) / np.ptp(image) * white).astype(dtype)
    image[..., 3] = rng.integers(0, white + 1, (HEIGHT, WIDTH))
    image[:5, :, 3] = 0
    image[-5:, :, 3] = white
    return image[..., 0] if channels == 1 else np.ascontiguousarray(image[..., :channels])


@functools.cache  # a profile tells when it was made: two are not the same when a second has passed
def srgb_profile(size: int = 0) -> bytes:
    """A valid RGB profile, filled up with unused bytes to `size`."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile += bytes(max(0, size - len(profile)))
    profile[:4] = struct.pack(">I", len(profile))
    return bytes(profile)


def grey_profile() -> bytes:
    profile = bytearray(srgb_profile())
    profile[16:20] = b"GRAY"
    return bytes(profile)


def exif() -> Pillow.Exif:
    tags = Pillow.Exif()
    tags[0x0112], tags[0x010F] = 6, "a camera"  # orientation: turned by 90 degrees; make
    return tags


def pillow_file(path: Path, image: np.ndarray, mode: str | None = None, **options: object) -> Path:
    picture = Pillow.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_we_write_we_read_again(tmp_path, suffix, channels, dtype):
    image = pixels(channels, dtype)
    path = tmp_path / f"image{suffix}"
    notes = write_image(path, Image(image))
    again = read_image(path).pixels
    if suffix == ".webp":  # holds 8 bit RGB(A) only
        assert bool(notes) == (dtype == np.uint16)
        image = np.rint(image / (257 if dtype == np.uint16 else 1)).astype(np.uint8)
        image = np.dstack([image] * 3) if channels == 1 else image
    else:
        assert notes == ()
    np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pillow_and_we_read_each_other(tmp_path, suffix, mode):
    image = pixels({"L": 1, "RGB": 3, "RGBA": 4}[mode])
    theirs = pillow_file(
        tmp_path / f"theirs{suffix}", image, **({"lossless": True, "exact": True} if suffix == ".webp" else {})
    )
    expected = image if mode != "L" or suffix != ".webp" else np.dstack([image] * 3)
    np.testing.assert_array_equal(read_image(theirs).pixels, expected)
    ours = tmp_path / f"ours{suffix}"
    write_image(ours, Image(image))
    with Pillow.open(ours) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_and_tifffile(tmp_path, channels, order):
    image = pixels(channels, np.uint16)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(
        tmp_path / "a.tif", image, photometric="rgb" if channels > 1 else "minisblack", byteorder=order, **extra
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, image)
    write_image(tmp_path / "b.tif", Image(image, Metadata(icc=srgb_profile() if channels > 1 else b"")))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        page = file.pages[0]
        assert len(file.pages) == 1
        assert page.extrasamples == ((2,) if channels == 4 else ()), (
            "the fourth sample must be marked as straight alpha"
        )
        assert page.iccprofile == (srgb_profile() if channels > 1 else None)


def test_sixteen_bit_png_with_grey_and_alpha(tmp_path):
    """Grey with alpha comes as RGB with alpha: OpenCV knows no two-channel images."""
    grey_alpha = np.dstack([pixels(1), pixels(4)[..., 3]])
    path = pillow_file(tmp_path / "la.png", grey_alpha)
    read = read_image(path).pixels
    np.testing.assert_array_equal(read, grey_alpha[..., [0, 0, 0, 1]])


def test_jpeg_is_nearly_lossless_and_keeps_full_chroma(tmp_path):
    image = pixels(3)
    write_image(tmp_path / "a.jpg", Image(image))
    difference = read_image(tmp_path / "a.jpg").pixels.astype(int) - image
    assert abs(difference).max() <= 8
    with Pillow.open(tmp_path / "a.jpg") as picture:
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3, "4:4:4"
        np.testing.assert_array_equal(np.asarray(picture), read_image(tmp_path / "a.jpg").pixels)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("size", [0, 200_000])
def test_profile_and_exif_are_kept(tmp_path, suffix, size):
    """Byte for byte, also a profile that needs several JPEG segments; the orientation stays a tag."""
    source, target = tmp_path / f"source{suffix}", tmp_path / f"target{suffix}"
    pillow_file(source, pixels(3), icc_profile=srgb_profile(size), exif=exif())
    image = read_image(source)
    assert image.pixels.shape == (HEIGHT, WIDTH, 3), "the orientation must not be applied"
    assert write_image(target, image) == ()
    with Pillow.open(target) as picture:
        picture.load()
        assert picture.info["icc_profile"] == srgb_profile(size)
        assert dict(picture.getexif()) == dict(exif())


def test_metadata_moves_between_formats(tmp_path):
    source = pillow_file(tmp_path / "a.jpg", pixels(3), icc_profile=srgb_profile(), exif=exif(), quality=95)
    for suffix in (".png", ".webp"):
        write_image(tmp_path / f"b{suffix}", read_image(source))
        with Pillow.open(tmp_path / f"b{suffix}") as picture:
            assert picture.info["icc_profile"] == srgb_profile()
            assert dict(picture.getexif()) == dict(exif())
    notes = write_image(tmp_path / "c.tif", read_image(source))
    assert len(notes) == 1
    assert "EXIF is not kept" in notes[0]
    with Pillow.open(tmp_path / "c.tif") as picture:
        assert picture.info["icc_profile"] == srgb_profile()


def test_profile_of_a_tiff(tmp_path):
    source = pillow_file(tmp_path / "a.tif", pixels(3), icc_profile=srgb_profile())
    write_image(tmp_path / "b.png", read_image(source))
    with Pillow.open(tmp_path / "b.png") as picture:
        assert picture.info["icc_profile"] == srgb_profile()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_profile_that_does_not_fit_is_dropped_and_said(tmp_path, suffix):
    """A grey profile on RGB, or the reverse, would make files that readers refuse (libpng does)."""
    for image, profile in ((pixels(3), grey_profile()), (pixels(1), srgb_profile())):
        notes = write_image(tmp_path / f"a{suffix}", Image(image, Metadata(icc=profile)), overwrite=True)
        assert len(notes) == 1
        assert "ICC profile is not kept" in notes[0]
        with Pillow.open(tmp_path / f"a{suffix}") as picture:
            picture.load()
            assert "icc_profile" not in picture.info


def test_colour_tags_of_an_hdr_png(tmp_path):
    cicp = bytes((9, 16, 0, 1))
    metadata = Metadata(colour=((b"cICP", cicp),))
    write_image(tmp_path / "a.png", Image(pixels(3, np.uint16), metadata))
    assert read_image(tmp_path / "a.png").metadata == metadata


@pytest.mark.parametrize(
    ("mode", "expected"), [("P", (HEIGHT, WIDTH, 3)), ("1", (HEIGHT, WIDTH)), ("LA", (HEIGHT, WIDTH, 4))]
)
def test_palette_and_one_bit_png(tmp_path, mode, expected):
    path = pillow_file(tmp_path / "a.png", pixels(3), mode)
    image = read_image(path).pixels
    assert image.shape == expected
    assert image.dtype == np.uint8
    with Pillow.open(path) as picture:
        back = np.asarray(picture.convert({2: "L", 3: "RGB", 4: "RGBA"}[4 if mode == "LA" else len(expected)]))
    np.testing.assert_array_equal(image, back)


def test_palette_with_transparency(tmp_path):
    picture = Pillow.fromarray(pixels(3)).convert("P")
    picture.save(tmp_path / "a.png", transparency=3)
    with Pillow.open(tmp_path / "a.png") as there:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, np.asarray(there.convert("RGBA")))


def test_a_turned_tiff_is_turned_upright(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(3), photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(pixels(3), -1))


def refused() -> dict[str, tuple[str, bytes, str]]:
    """Name -> suffix, file, what the message says: files that OpenCV would decode wrongly or in part."""

    def made(kind: str, image: np.ndarray, mode: str | None = None, **options: object) -> bytes:
        file = io.BytesIO()
        picture = Pillow.fromarray(image)
        (picture.convert(mode) if mode else picture).save(file, kind, **options)
        return file.getvalue()

    def tiff(image: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, image, **options)
        return file.getvalue()

    rgb = pixels(3)
    second = [Pillow.fromarray(255 - rgb)]
    moving = {"save_all": True, "append_images": second}
    return {
        "empty": (".png", b"", "is empty"),
        "text": (".png", b"this is no image at all, only text", "not an image"),
        "cmyk jpeg": (".jpg", made("JPEG", rgb, "CMYK"), "CMYK"),
        "cmyk tiff": (".tif", made("TIFF", rgb, "CMYK"), "neither grey nor RGB"),
        "animated png": (".png", made("PNG", rgb, **moving), "animated PNG"),
        "animated webp": (".webp", made("WEBP", rgb, **moving), "animated WebP"),
        "two pages": (".tif", tiff(np.stack([rgb, rgb]), photometric="rgb"), "several pages"),
        "float": (".tif", tiff(rgb.astype(np.float32), photometric="rgb"), "8 or 16 bit"),
        "signed": (".tif", tiff(rgb.astype(np.int16), photometric="rgb"), "8 or 16 bit"),
        "32 bit": (".tif", tiff(rgb.astype(np.uint32), photometric="rgb"), "8 or 16 bit"),
        "premultiplied": (".tif", tiff(pixels(4), photometric="rgb", extrasamples=["assocalpha"]), "premultiplied"),
        "grey with alpha": (
            ".tif",
            tiff(pixels(4)[..., :2], photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
            "extra channels",
        ),
        "planes": (
            ".tif",
            tiff(np.moveaxis(pixels(3, np.uint16), 2, 0), photometric="rgb", planarconfig="separate"),
            "planes",
        ),
        "0 is white": (".tif", tiff(pixels(1, np.uint16), photometric="miniswhite"), "0 is white"),
        "short png": (".png", made("PNG", rgb)[:20], "ends too early"),
    }


@pytest.mark.parametrize("name", refused())
def test_refused_files(tmp_path, name, capfd):
    suffix, data, said = refused()[name]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        read_image(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".heic", ".bmp", ".ppm"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_not_passed_off_as_whole(tmp_path, capfd, suffix, share):
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(pixels(3)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError):
        read_image(path)
    assert capfd.readouterr().err == "", "the error is one line, ours"


def test_libraries_print_nothing_about_a_damaged_png_of_16_bit(tmp_path, capfd):
    path = tmp_path / "a.png"
    write_image(path, Image(pixels(3, np.uint16)))
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 40
    data[start : start + 40] = bytes([0x5A]) * 40
    path.write_bytes(data)
    with pytest.raises(MediaError):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".heic", ".bmp", ".ppm", ".tga", ".gif"])
def test_damaged_files_raise_only_our_error(tmp_path, suffix):
    """Bytes changed at random: an image or a MediaError, never anything else."""
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(pixels(3)[:9, :9], Metadata(icc=srgb_profile())))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(2, len(whole))] = rng.integers(0, 256)
        # Structure lies at both ends of a file: hit it more often.
        damaged[rng.integers(2, 200)] = rng.integers(0, 256)
        damaged[-rng.integers(1, 100)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(MediaError):
            read_image(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MediaError, match="cannot read: No such file"):
        read_image(tmp_path / "no.png")
    with pytest.raises(MediaError, match="cannot read: Is a directory"):
        read_image(tmp_path)


def test_suffixes(tmp_path):
    assert is_image(Path("a.PNG"))
    assert is_image(Path("b.tiff"))
    assert not is_image(Path("c.mp4"))
    with pytest.raises(MediaError, match=r"ending must be one of .*got '.psd'"):
        write_image(tmp_path / "a.psd", Image(pixels(3)))
    with pytest.raises(MediaError, match="JPEG cannot hold the image's alpha"):
        write_image(tmp_path / "a.jpg", Image(pixels(4)))
    assert list(tmp_path.iterdir()) == []


def test_sixteen_bit_to_jpeg_is_rounded_and_said(tmp_path):
    image = np.full((8, 8), 257 * 100 + 128, np.uint16)
    notes = write_image(tmp_path / "a.jpg", Image(image))
    assert len(notes) == 1
    assert "16 bit became 8 bit" in notes[0]
    assert (read_image(tmp_path / "a.jpg").pixels == 100).all()
    data, _ = encode(Image(image + 1), tmp_path / "a.webp")
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).max() == 101


def test_an_existing_target_is_not_touched(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_image(path, Image(pixels(3)))
    assert path.read_bytes() == b"mine"
    write_image(path, Image(pixels(3)), overwrite=True)
    np.testing.assert_array_equal(read_image(path).pixels, pixels(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_folders_are_made_and_the_mode_is_the_users(tmp_path):
    path = tmp_path / "new" / "folder" / "ä ü [1].png"
    write_image(path, Image(pixels(3)))
    np.testing.assert_array_equal(read_image(path).pixels, pixels(3))
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="cannot write"):
        write_image(tmp_path / "file" / "a.png", Image(pixels(3)))
    (tmp_path / "a.png").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        write_image(tmp_path / "a.png", Image(pixels(3)), overwrite=True)


def test_a_full_disk_leaves_the_old_target(tmp_path):
    """A limit on file size fails a write half-way, as a full disk does."""
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MediaError, match=r"a.png: cannot write: File too large"):
            write_image(path, Image(noise), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MediaError, ValueError])
def test_nothing_is_left_after_an_error(tmp_path, error):
    target = tmp_path / "a.png"

    def fail() -> None:
        with whole_or_nothing(target, overwrite=False) as temporary:
            temporary.write_bytes(b"half")
            assert temporary.parent == target.parent
            assert temporary.suffix == ".png"
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []
