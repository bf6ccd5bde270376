"""Pictures through the cpu engine, tiles and clips: the same bits whoever converts; planes that repeat are reused."""

from __future__ import annotations

import numpy as np
import pytest

from vs_smsr.engine import create
from vs_smsr.engine.contract import Engine
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.jobs.planes import layout_of
from vs_smsr.media.colour import Colour
from vs_smsr.options import EngineOptions, TilingOptions
from vs_smsr.tiling import Sequence, Tiler


@pytest.fixture(scope="module")
def engine() -> Engine:
    return create(EngineOptions(engine="cpu", precision="fp32", threads=3))


def layout(pix_fmt: str) -> Layout:
    found = layout_of(pix_fmt, Colour(1, False))
    assert found is not None
    return found


def picture(pix_fmt: str, height: int, width: int, seed: int = 0) -> Picture:
    """Waves with noise."""
    y, x = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(x / 6 + seed) * np.cos(y / 7)
    noise = np.random.default_rng(seed).normal(0, 10, (height, width, 3))
    return pack(np.clip(waves[..., None] + noise, 0, 255).astype(np.float32), layout(pix_fmt), height, width)


@pytest.mark.parametrize("like", [None, "yuv444p", "gray16le"])
@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
def test_the_engine_converts_as_the_host(engine: Engine, size: tuple[int, int], like: str | None) -> None:
    """In three threads as in one; odd sides are padded and cropped."""
    given, target = picture("yuv420p10le", *size), layout(like or "yuv420p10le")
    got = engine.upscale_picture(given, layout(like) if like else None)
    result = engine.upscale(unpack(given))
    assert got.picture.same(pack(result.frame, target, 2 * size[0], 2 * size[1]))
    assert got.sparsity == result.sparsity


def test_a_future_has_the_same_result(engine: Engine) -> None:
    given = picture("yuv420p", 16, 16)
    assert engine.submit(given).result().picture.same(engine.upscale_picture(given).picture)


def test_tiles_change_no_bit(engine: Engine) -> None:
    given = picture("yuv420p", 70, 90)
    whole = Tiler(engine, TilingOptions(memory=4 << 30)).upscale_picture(given).picture
    tiled = Tiler(engine, TilingOptions(memory=4 << 30, tile=32)).upscale_picture(given).picture
    assert tiled.same(whole)


def test_planes_that_repeat_are_reused_and_others_are_not(engine: Engine) -> None:
    target = layout("yuv420p")
    sequence = Sequence(Tiler(engine, TilingOptions(memory=4 << 30)))
    first, other = picture("yuv420p", 16, 20), picture("yuv420p", 16, 20, seed=1)
    again = Picture(tuple(plane.copy() for plane in first.planes), first.layout)
    results = [sequence.upscale_picture(one, target) for one in (first, again, other, first)]
    assert [result.reused for result in results] == [0, 1, 0, 0]
    assert results[1].picture.same(results[0].picture)
    assert results[3].picture.same(results[0].picture)
    assert not results[2].picture.same(results[0].picture)
    changed = Picture((first.planes[0], first.planes[1] ^ 1, first.planes[2]), first.layout)
    assert sequence.upscale_picture(changed, target).reused == 0
    full = layout_of("yuv420p", Colour(1, True))
    assert full is not None
    assert sequence.upscale_picture(Picture(first.planes, full), target).reused == 0  # the same codes, another range


def test_held_attention_is_that_of_frames(engine: Engine) -> None:
    options = TilingOptions(memory=4 << 30, attention="held")
    target = layout("yuv420p")
    pictures, frames = (Sequence(Tiler(engine, options)) for _ in range(2))
    for seed in range(3):
        given = picture("yuv420p", 16, 20, seed)
        got, wanted = pictures.upscale_picture(given, target), frames.upscale(unpack(given))
        assert got.held == wanted.held == (seed > 0)
        assert got.picture.same(pack(wanted.frame, target, 32, 40))
