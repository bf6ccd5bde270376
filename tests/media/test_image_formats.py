"""Formats and metadata of stills beside PNG, JPEG, WebP and TIFF's pixels: judged by Pillow, tifffile and FFmpeg."""

from __future__ import annotations

import functools
import io
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin, TiffImagePlugin

from vs_smsr.errors import MediaError
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image, kind_of, read_image
from vs_smsr.media.reader import Reader

pillow_heif.register_heif_opener()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf>\xc3\xa4</rdf></x:xmpmeta>'


def pixels(channels: int = 3, dtype: type = np.uint8, size: tuple[int, int] = (34, 46)) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((*size, 4)), (0, 0), 4)
    image = (noise - noise.min()) / np.ptp(noise) * np.iinfo(dtype).max
    return np.ascontiguousarray(np.rint(image).astype(dtype)[..., :channels]).squeeze()


@functools.cache  # a profile tells when it was made
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".pnm", ".tga", ".jfif", ".avif", ".heic", ".gif", ".dib"])
def test_a_still_comes_out_as_it_came_in(tmp_path, suffix):
    """Pillow's file in, ours out, read by Pillow: the same pixels, or as near as the format is."""
    form = {".jfif": "JPEG", ".avif": "AVIF", ".heic": "HEIF", ".dib": "BMP", ".pnm": "PPM"}.get(suffix)
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    quality = {"quality": 95} if suffix in (".avif", ".heic", ".jfif") else {}
    Pillow.fromarray(pixels()).save(source, form, **quality)
    assert kind_of(source) == "image"
    image = read_image(source)
    with Pillow.open(source) as theirs:
        expected = np.asarray(theirs.convert("RGB"))
    assert np.abs(image.pixels.astype(int) - expected).max() <= 2
    write_image(target, image)
    with Pillow.open(target) as ours:
        assert ours.format == form or form is None
        difference = np.abs(np.asarray(ours.convert("RGB")).astype(int) - image.pixels)
    lossless = suffix not in (".jfif", ".heic", ".gif")
    assert difference.max() == 0 if lossless else difference.mean() < 4


@pytest.mark.parametrize("suffix", [".tga", ".avif", ".heic", ".bmp"])
def test_alpha(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", Image(pixels(4)))
    with Pillow.open(tmp_path / f"a{suffix}") as ours:
        assert ours.mode == "RGBA"
        assert np.abs(np.asarray(ours)[..., 3].astype(int) - pixels(4)[..., 3]).max() <= 3
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels.shape, pixels(4).shape)


@pytest.mark.parametrize("white", [200, 255, 1023, 65535])
@pytest.mark.parametrize("grey", [False, True])
def test_any_maximum_of_a_ppm(tmp_path, white, grey):
    codes = np.rint(pixels(1 if grey else 3, np.uint16) / 65535 * white).astype(">u2" if white > 255 else "u1")
    header = f"P{5 if grey else 6}\n46 34\n{white}\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + codes.tobytes())
    read = read_image(tmp_path / "a.ppm").pixels
    full = 65535 if white > 255 else 255
    assert read.dtype == (np.uint16 if white > 255 else np.uint8)
    assert np.abs(read - codes.astype(float) * full / white).max() <= 1
    assert write_image(tmp_path / "b.pgm" if grey else tmp_path / "b.ppm", Image(read)) == ()
    with (tmp_path / ("b.pgm" if grey else "b.ppm")).open("rb") as file:
        assert file.readline() == (b"P5\n" if grey else b"P6\n")


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_and_heic_keep_their_depth(tmp_path, ffprobe, bits):
    codes = np.rint(pixels(3, np.uint16) / 65535 * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    parameters = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    cv2.imwrite(str(tmp_path / "a.avif"), codes[..., ::-1], parameters)
    white = 255 if bits == 8 else 65535
    image = read_image(tmp_path / "a.avif")
    avif = image.pixels
    assert np.abs(avif - codes.astype(float) * white / (2**bits - 1)).max() <= 0.5
    assert write_image(tmp_path / "b.avif", image) == ()
    (stream,) = ffprobe(tmp_path / "b.avif", "-show_streams")["streams"]
    assert stream["pix_fmt"] == {8: "yuv444p", 10: "yuv444p10le", 12: "yuv444p12le"}[bits]
    lost = write_image(tmp_path / "b.heic", image)
    assert lost == (("12 bit became 10 bit, as .heic holds no more.",) if bits == 12 else ())
    if bits == 10:
        write_image(tmp_path / "a.heic", Image(avif))
        assert pillow_heif.open_heif(tmp_path / "a.heic", convert_hdr_to_8bit=False).info["bit_depth"] == 10
        heic = read_image(tmp_path / "a.heic").pixels
        assert heic.dtype == np.uint16
        assert np.abs(heic.astype(int) - avif).mean() < 900
        assert heic.max() <= 65535


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_stay(tmp_path, ffmpeg, suffix, channels):
    write_image(tmp_path / f"a{suffix}", Image(pixels(channels, np.uint16)))
    if suffix == ".png":
        ffmpeg("-i", tmp_path / "a.png", "-f", "rawvideo", "-pix_fmt", "rgba64le", tmp_path / "raw")
        raw = (tmp_path / "raw").read_bytes()
        theirs = np.frombuffer(raw, "<u2").reshape(34, 46, 4)[..., :channels]
    else:
        theirs = tifffile.imread(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(theirs, pixels(channels, np.uint16))


def test_jpeg_xl(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    for dtype in (np.uint8, np.uint16):
        (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels(3, dtype), lossless=True))
        assert kind_of(tmp_path / "a.jxl") == "image"
        np.testing.assert_array_equal(read_image(tmp_path / "a.jxl").pixels, pixels(3, dtype))
    moving = np.stack([pixels(), pixels()[::-1]])
    (tmp_path / "b.jxl").write_bytes(imagecodecs.jpegxl_encode(moving, lossless=True))
    with pytest.raises(MediaError, match="an animated JPEG XL of 2 frames"):
        read_image(tmp_path / "b.jxl")


@pytest.mark.parametrize("suffix", [".jp2", ".pcx", ".sgi", ".qoi", ".dds", ".ico"])
def test_other_stills_are_read(tmp_path, suffix):
    size = (32, 48)
    options = {"sizes": [size[::-1]]} if suffix == ".ico" else {}
    Pillow.fromarray(pixels(size=size)).save(tmp_path / f"a{suffix}", **options)
    assert kind_of(tmp_path / f"a{suffix}") == "image"
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels[..., :3], pixels(size=size))
    with pytest.raises(MediaError, match="the ending must be one of"):
        write_image(tmp_path / f"b{suffix}", Image(pixels()))


def test_jpeg_2000_keeps_its_depth(tmp_path, ffmpeg):
    write_image(tmp_path / "a.png", Image(pixels(3, np.uint16)))
    ffmpeg("-i", tmp_path / "a.png", "-pix_fmt", "rgb48be", "-pred", "dwt53", tmp_path / "a.jp2")
    read = read_image(tmp_path / "a.jp2").pixels
    assert read.dtype == np.uint16
    assert np.abs(read.astype(int) - pixels(3, np.uint16)).mean() < 300


def test_stills_that_are_not_read_are_no_videos(tmp_path):
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    assert kind_of(tmp_path / "a.exr") == "image"
    with pytest.raises(MediaError, match=r"a\.exr: stills of this kind are not read"):
        read_image(tmp_path / "a.exr")


@pytest.mark.parametrize(
    ("codec", "ending"), [("jpegls", "jls"), ("xbm", "xbm"), ("sunrast", "sun"), ("jpegls", "mp4")]
)
def test_other_stills_of_ffmpeg_are_no_videos(tmp_path, ffmpeg, codec, ending):
    """Under an ending of their own or another."""
    path = tmp_path / f"a.{ending}"
    picture = ("-f", "lavfi", "-i", "testsrc2=s=32x24", "-frames:v", 1)
    ffmpeg(*picture, "-c:v", codec, "-f", "image2pipe", path)
    read = read_image if kind_of(path) == "image" else Reader
    with pytest.raises(MediaError, match=r"of (this|a) kind (are|that is) not read"):
        read(path)


# ---- metadata


def png(path: Path, image: np.ndarray) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    info.add(b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600))
    info.add_text("Author", "ä person")
    info.add_itxt("Comment", "日本語")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    Pillow.fromarray(image).save(path, pnginfo=info, dpi=(300, 150))
    return path


@pytest.mark.parametrize("deep", [False, True])
def test_a_png_keeps_gamma_chromaticities_text_density_and_xmp(tmp_path, ffmpeg, deep):
    """As Pillow reads them; a file of 16 bit has the same chunks."""
    image = read_image(png(tmp_path / "a.png", pixels()))
    if deep:
        image = Image(image.pixels.astype(np.uint16) * 257, image.metadata)
    assert write_image(tmp_path / "b.png", image) == ()
    with Pillow.open(tmp_path / "a.png") as before, Pillow.open(tmp_path / "b.png") as after:
        for picture in (before, after):
            picture.load()
        kept = ("gamma", "chromaticity", "dpi", "xmp")
        assert {name: after.info[name] for name in kept} == {name: before.info[name] for name in kept}
        assert dict(after.text) == dict(before.text)
        assert after.text["Comment"] == "日本語"
    assert ffmpeg("-xerror", "-i", tmp_path / "b.png", "-f", "null", "-") == ""


def test_what_another_format_cannot_hold_is_named(tmp_path):
    image = read_image(png(tmp_path / "a.png", pixels()))
    notes = write_image(tmp_path / "b.jpg", image)
    assert {note.split(" is not kept")[0] for note in notes} == {"the gamma", "the chromaticities", "the text"}
    notes = write_image(tmp_path / "b.bmp", image)
    assert "the XMP is not kept: it cannot be written into BMP." in notes
    with Pillow.open(tmp_path / "b.jpg") as picture:
        assert picture.info["xmp"] == XMP
        assert picture.info["dpi"] == pytest.approx((300, 150), abs=0.5)


def test_gamma_of_srgb_needs_no_note(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"sRGB", b"\0")
    Pillow.fromarray(pixels()).save(tmp_path / "a.png", pnginfo=info)
    assert write_image(tmp_path / "b.webp", read_image(tmp_path / "a.png")) == ()
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    with Pillow.open(tmp_path / "b.png") as picture:
        assert (picture.info["gamma"], picture.info["srgb"]) == (0.45455, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".bmp"])
def test_density_goes_from_each_to_each(tmp_path, suffix):
    for other in (".jpg", ".tif", ".png", ".bmp"):
        source, target = tmp_path / f"a{suffix}", tmp_path / f"b{other}"
        Pillow.fromarray(pixels()).save(source, dpi=(300, 300))
        write_image(target, read_image(source), overwrite=True)
        with Pillow.open(target) as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1), other


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp", ".png", ".avif", ".heic"])
def test_xmp_and_profile_stay(tmp_path, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(
            source, pixels(), photometric="rgb", iccprofile=profile(), extratags=[(700, 1, len(XMP), XMP, True)]
        )
    elif suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        Pillow.fromarray(pixels()).save(source, pnginfo=info, icc_profile=profile())
    else:
        Pillow.fromarray(pixels()).save(source, xmp=XMP, icc_profile=profile())
    assert write_image(target, read_image(source)) == ()
    with Pillow.open(target) as picture:
        assert bytes(picture.info["xmp"]) == XMP
        assert picture.info["icc_profile"] == profile()


def test_text_of_a_tiff_stays(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(), photometric="rgb", description="a view", metadata=None)
    write_image(tmp_path / "b.tif", read_image(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].description == "a view"


def app2(body: bytes) -> bytes:
    return b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body


def test_only_segments_of_a_profile_make_the_profile(tmp_path):
    """In the order of their numbers; MPF and FPXR are no profile."""
    file = io.BytesIO()
    Pillow.fromarray(pixels()).save(file, "JPEG", quality=95)
    jpeg = file.getvalue()
    half = len(profile()) // 2
    second = app2(b"ICC_PROFILE\0\x02\x02" + profile()[half:])
    first = app2(b"ICC_PROFILE\0\x01\x02" + profile()[:half])
    foreign = app2(b"FPXR\0" + b"x" * 40) + app2(b"MPF\0MM\0*" + b"y" * 16)
    for segments, expected in (
        (foreign, b""),
        (second + foreign + first, profile()),
        (foreign + first + second, profile()),
    ):
        (tmp_path / "a.jpg").write_bytes(jpeg[:2] + segments + jpeg[2:])
        image = read_image(tmp_path / "a.jpg")
        assert image.metadata.icc == expected
        write_image(tmp_path / "b.jpg", image, overwrite=True)
        with Pillow.open(tmp_path / "b.jpg") as picture:
            assert picture.info.get("icc_profile", b"") == expected


def test_a_profile_that_lacks_a_part_is_named(tmp_path):
    file = io.BytesIO()
    Pillow.fromarray(pixels()).save(file, "JPEG", quality=95)
    jpeg = file.getvalue()
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + app2(b"ICC_PROFILE\0\x01\x02" + profile()) + jpeg[2:])
    notes = write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    assert notes == ("the ICC profile, of which a part is missing, is not kept.",)


# ---- several pictures in one file


def test_the_other_pictures_of_an_mpo_are_named(tmp_path):
    views = [Pillow.fromarray(pixels()), Pillow.fromarray(pixels()[::-1])]
    views[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=views[1:])
    image = read_image(tmp_path / "a.jpg")
    assert image.notes == ("the file holds 2 pictures (MPO); the first is upscaled, the others are not carried.",)


def test_a_thumbnail_in_a_tiff_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels(), photometric="rgb")
        file.write(pixels()[::4, ::4], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels())


def test_a_damaged_chunk_of_png_is_told(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Image(pixels()))
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 40
    data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.png: .*damaged"):
        read_image(path)


def test_a_comment_goes_from_jpeg_to_jpeg_and_to_png(tmp_path):
    Pillow.fromarray(pixels()).save(tmp_path / "a.jpg", comment="a remark")
    image = read_image(tmp_path / "a.jpg")
    assert write_image(tmp_path / "b.jpg", image) == ()
    assert write_image(tmp_path / "b.png", image) == ()
    with Pillow.open(tmp_path / "b.jpg") as jpeg, Pillow.open(tmp_path / "b.png") as png:
        png.load()
        assert (jpeg.info["comment"], png.text) == (b"a remark", {"Comment": "a remark"})


def test_exif_of_a_tiff_moves_to_formats_that_have_it(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x010F] = "a camera"
    tags[0x8769] = {0x829A: TiffImagePlugin.IFDRational(1, 4)}  # exposure time
    Pillow.fromarray(pixels()).save(tmp_path / "a.tif", tiffinfo=tags)
    image = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.jpg", image)
    with Pillow.open(tmp_path / "b.jpg") as picture:
        kept = picture.getexif()
        assert kept[0x010F] == "a camera"
        assert kept.get_ifd(0x8769)[0x829A] == 0.25
    assert "the EXIF is not kept: it cannot be written into TIFF." in write_image(tmp_path / "b.tif", image)


def test_what_nothing_here_can_keep_is_named(tmp_path):
    file = io.BytesIO()
    Pillow.fromarray(pixels()).save(file, "JPEG")
    jpeg = file.getvalue()
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab"
    app13 = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + app13 + jpeg[2:])
    assert write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg")) == (
        "the IPTC and Photoshop data is not kept.",
    )


def test_jpeg_xl_without_its_packages_names_them(tmp_path, monkeypatch):
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MediaError, match=r"pip install 'vs-smsr\[jxl\]'"):
        read_image(tmp_path / "a.jxl")


def test_grey_of_sixteen_bit_with_alpha(tmp_path):
    grey = pixels(1, np.uint16)
    alpha = pixels(4, np.uint16)[..., 3]
    data = np.stack([grey, alpha], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in data)
    header = struct.pack(">2I5B", grey.shape[1], grey.shape[0], 16, 4, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    png = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, np.dstack([grey, grey, grey, alpha]))
