"""Tiles and reach: integers against brute force, and against the network itself with impulses."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.engine.contract import Overrides
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.window import Window, whole
from vs_smsr.families import NetworkSpec, smsr, srresnet
from vs_smsr.tiling.changes import affected
from vs_smsr.tiling.geometry import cover, rectangles, rows
from vs_smsr.weights import Weights

SPEC = smsr.spec(2)
NETWORK = reach(SPEC)
HEAD, BLOCK, END = around(NETWORK.head), NETWORK.blocks[0], NETWORK.end
UPSAMPLED = replace(srresnet.spec(4), blocks=srresnet.spec(4).blocks[:1])  # with a mask of its upsampling
UPSAMPLED_END = reach(UPSAMPLED).end
evens = st.integers(1, 60).map(lambda half: 2 * half)


@settings(deadline=None)
@given(evens, evens, evens, evens, st.integers(0, 20), st.integers(0, 20))
def test_every_pixel_is_in_one_tile(height: int, width: int, tall: int, wide: int, top: int, left: int) -> None:
    area = Window(2 * top, 2 * left, 2 * top + height, 2 * left + width)
    count = np.zeros((area.bottom, area.right), int)
    for tile in cover(area, tall, wide):
        assert (tile.top % 2, tile.left % 2, tile.bottom % 2, tile.right % 2) == (0, 0, 0, 0)
        assert 0 < tile.height <= tall
        assert 0 < tile.width <= wide
        count[tile.slices] += 1
    assert (count[area.slices] == 1).all()
    assert count.sum() == area.area


@given(st.data(), evens, evens)
@settings(max_examples=60, deadline=None)
def test_rectangles_hold_every_change_and_few_are_made(data: st.DataObject, height: int, width: int) -> None:
    changed = np.zeros((height, width), np.bool_)
    for _ in range(data.draw(st.integers(0, 12))):
        changed[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    windows = rectangles(changed, lambda window: window.area + 300)
    held = np.zeros_like(changed)
    for window in windows:
        assert changed[window.slices].any()
        held[window.slices] = True
    assert not (changed & ~held).any()
    for i, a in enumerate(windows):
        for b in windows[i + 1 :]:
            assert a.hull(b).area > a.area + b.area + 300  # merging these would cost more


@given(st.lists(st.integers(0, 99), max_size=8))
def test_windows_of_whole_rows_hold_every_change(changed_rows: list[int]) -> None:
    changed = np.zeros((100, 6), np.bool_)
    changed[changed_rows, 3] = True
    held = np.zeros(100, int)
    for window in rows(changed):
        assert (window.left, window.right, window.top % 2, window.bottom % 2) == (0, 6, 0, 0)
        assert changed[window.slices].any()
        held[window.top : window.bottom] += 1
    assert held.max() <= 1
    assert held[changed_rows].all()


def test_scattered_changes_do_not_make_many_rectangles() -> None:
    changed = np.random.default_rng(0).random((512, 512)) < 0.01
    assert len(rectangles(changed, lambda window: window.area)) <= 24


@pytest.mark.parametrize(
    ("needs", "affects"),
    [
        (HEAD, HEAD),
        *((part.needs, part.affects) for part in (BLOCK, END, NETWORK, UPSAMPLED_END, reach(UPSAMPLED))),
    ],
)
def test_needs_and_affects_are_two_views_of_one_thing(needs, affects) -> None:
    for x in range(200, 204):
        first, end = affects((x, x + 1))
        reached = [y for y in range(100, 300) if needs((y, y + 1))[0] <= x < needs((y, y + 1))[1]]
        assert (first, end) == (reached[0], reached[-1] + 1)


def test_the_reach_that_the_paper_network_has() -> None:
    spans = [NETWORK.needs((x, x + 1)) for x in range(2)]
    assert max(x - span[0] for x, span in enumerate(spans)) == 35
    assert max(span[1] - 1 - x for x, span in enumerate(spans)) == 44
    assert Window(100, 100, 200, 200).expand(NETWORK.needs, whole(400, 400)) == Window(64, 64, 244, 244)


def lively_weights(seed: int, spec: NetworkSpec = SPEC) -> Weights:
    """Weights with which masks flip at a touch and changes do not fade."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in spec.shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == f"{spec.head[0].name}.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    return Weights(spec, tensors)


@pytest.fixture(scope="module")
def engine() -> CpuEngine:
    return CpuEngine(lively_weights(1), threads=1)


SIDE = 132


@pytest.fixture(scope="module")
def kept(engine: CpuEngine) -> KeptFrame:
    made = KeptFrame(engine, SIDE, SIDE)
    made.upscale(random_frame(), Overrides())
    return made


def random_frame() -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32)


def impulses(window: Window, core: Window) -> list[tuple[int, int]]:
    """Pixels just inside the window's border, one on each side."""
    y, x = (core.top + core.bottom) // 2, (core.left + core.right) // 2
    return [(window.top, x), (window.bottom - 1, x), (y, window.left), (y, window.right - 1)]


@pytest.mark.parametrize("stage", range(SPEC.stages + 1))
@pytest.mark.parametrize("core", [Window(40, 44, 60, 70), Window(42, 40, 44, 42)])
def test_an_impulse_outside_a_stage_s_halo_does_not_change_its_core(
    engine: CpuEngine, stage: int, core: Window
) -> None:
    arrays = {name: np.zeros((*store_size(SPEC, SIDE, SIDE), 64), np.float32) for name in stored(SPEC)}
    staged, frame = StagedFrame(engine, [Plain(array) for array in arrays.values()], SIDE, SIDE), random_frame()
    begin(staged, frame, stage)
    place = staged._place(max(stage - 2, 0), whole(SIDE, SIDE)).slices
    names = "features" if stage > 2 else "head", "fused", "collected"
    left = [arrays[name][place] for name in names]  # by the stage before

    def computed() -> np.ndarray:
        if stage == SPEC.stages:
            return staged.end(core)
        before = {name: array.copy() for name, array in arrays.items()}
        staged.block(stage - 1, core, np.zeros(1, np.int64)) if stage else staged.head(core)
        name = "fused" if stage else "head"
        result = arrays[name][staged._place(max(stage - 1, 0), core).slices].copy()
        for name, array in arrays.items():
            array[:] = before[name]
        return result

    if stage == 0:
        no_halo_but_this(computed, [frame], core, HEAD, 4)
    elif stage < SPEC.stages:
        no_halo_but_this(computed, left[: min(stage, 2)], core, BLOCK.needs, 1)
    else:
        head = arrays["head"][staged._place(0, whole(SIDE, SIDE)).slices]
        no_halo_but_this(computed, [frame, *left, head], core, END.needs, 4)


@dataclass
class Plain:
    """A store in an array that everybody sees."""

    array: np.ndarray

    def read(self, window: Window, into: np.ndarray) -> None:
        into[:] = self.array[window.slices]

    def write(self, window: Window, values: np.ndarray) -> None:
        self.array[window.slices] = values


def begin(staged: StagedFrame, frame: np.ndarray, stage: int) -> None:
    """A frame up to a stage, which is not computed."""

    class Enough(Exception):
        pass

    names = ["head", *["block"] * len(SPEC.blocks), "end"]
    number = itertools.count()

    def counted(name: str, *given: Any) -> Any:
        if next(number) == stage:
            raise Enough
        return getattr(StagedFrame, name)(staged, *given)

    for name in set(names):
        setattr(staged, name, partial(counted, name))
    with contextlib.suppress(Enough):
        staged.upscale(frame, Overrides(), [whole(SIDE, SIDE)])
    for name in set(names):
        delattr(staged, name)


@pytest.mark.parametrize("core", [Window(40, 44, 60, 70), Window(42, 40, 44, 42)])
def test_nor_does_one_outside_the_halo_of_what_is_kept(kept: KeptFrame, core: Window) -> None:
    every, left = np.ones((SIDE, SIDE), np.bool_), list(kept.stages)
    no_halo_but_this(lambda: left_by(kept, 0, core, kept.head), [kept.frame], core, HEAD, 4)
    no_halo_but_this(lambda: kept.end(core, every, every)[0], [kept.frame, *left], core, END.needs, 4)
    for block in range(len(SPEC.blocks)):
        around_layers = around(NETWORK.blocks[block].layers)
        compute = partial(left_by, kept, block + 1, core, partial(kept.masked, block))
        no_halo_but_this(compute, [left[block]], core, around_layers, 0)
        no_halo_but_this(
            lambda at=block: kept.mask(at, core, every), [left[block]], core, NETWORK.blocks[block].mask.needs, 0
        )


@pytest.mark.parametrize("core", [Window(40, 44, 60, 70), Window(42, 40, 44, 42)])
def test_nor_does_one_outside_the_halo_of_a_masked_upsampling(core: Window) -> None:
    made = KeptFrame(CpuEngine(lively_weights(0, UPSAMPLED), threads=1, precision="fp32"), SIDE, SIDE)
    masks = made.upscale(random_frame(), Overrides()).masks
    assert 0.05 < masks[-1].mean() < 0.95, "a mask that decides something"
    every = np.ones((SIDE, SIDE), np.bool_)
    stages = list(made.stages)
    for part in range(2):
        no_halo_but_this(lambda at=part: made.end(core, every, every)[at], stages, core, UPSAMPLED_END.needs, 0)


def left_by(kept: KeptFrame, stage: int, core: Window, compute) -> np.ndarray:
    """What is kept of a stage in a window after that was computed anew."""
    every = np.ones((SIDE, SIDE), np.bool_)
    before = kept.stages[stage][core.slices].copy()
    differs = compute(core, every, every)
    after = kept.stages[stage][core.slices].copy()
    assert np.array_equal(differs, (before != after).any(2))
    return after


def no_halo_but_this(compute, maps: list[np.ndarray], core: Window, needs, least: int) -> None:
    """What lies outside `needs` of the core does not change it; of four pixels just inside, at least so many do."""
    expected = compute()
    inner = exact(core, needs)
    outer = Window(inner.top - 1, inner.left - 1, inner.bottom + 1, inner.right + 1)
    for values in maps:
        for y, x in impulses(outer, core):
            kept = values[y, x].copy()
            values[y, x] = 1000 - kept
            assert np.array_equal(compute(), expected)
            values[y, x] = kept
    changes = 0
    for y, x in impulses(inner, core):  # and the halo is no larger than need be
        kept = maps[0][y, x].copy()
        maps[0][y, x] = 1000 - kept
        changes += not np.array_equal(compute(), expected)
        maps[0][y, x] = kept
    assert changes >= least  # an SMM's outermost pixels only speak through a mask's flip


def exact(core: Window, needs) -> Window:
    (top, bottom), (left, right) = needs((core.top, core.bottom)), needs((core.left, core.right))
    return Window(top, left, bottom, right)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_an_impulse_outside_the_network_s_halo_does_not_change_a_tile(engine: CpuEngine, data: st.DataObject) -> None:
    height, width = data.draw(st.sampled_from([96, 110])), data.draw(st.sampled_from([100, 124]))
    frame = np.random.default_rng(3).uniform(0, 255, (height, width, 3)).astype(np.float32)
    attention = engine.upscale(frame).attention
    core = data.draw(st.sampled_from(cover(whole(height, width), 24, 24)))
    window = core.expand(NETWORK.needs, whole(height, width))
    assert (window.top % 2, window.left % 2) == (0, 0)
    outside = np.ones((height, width), np.bool_)
    outside[window.slices] = False
    places = np.argwhere(outside)
    if len(places):
        y, x = places[data.draw(st.integers(0, len(places) - 1))]
        other = frame.copy()
        other[y, x] = 255 - other[y, x]
    else:
        other = frame
    overrides = Overrides(attention=attention)
    part = engine.upscale(np.ascontiguousarray(other[window.slices]), overrides)
    expected = engine.upscale(frame, overrides)
    inner = core.within(window)
    assert np.array_equal(part.frame[inner.scaled(2).slices], expected.frame[core.scaled(2).slices])
    for module in range(len(SPEC.blocks)):
        assert np.array_equal(part.masks[module][inner.slices], expected.masks[module][core.slices])


@settings(deadline=None)
@given(st.integers(0, 39), st.integers(0, 39))
def test_what_is_affected_holds_what_a_pixel_affects(y: int, x: int) -> None:
    changed = np.zeros((40, 40), np.bool_)
    changed[y, x] = True
    for affects in (HEAD, BLOCK.affects, END.affects, UPSAMPLED_END.affects):
        (top, bottom), (left, right) = affects((y, y + 1)), affects((x, x + 1))
        reached = affected(changed, affects)
        assert reached[max(top, 0) : bottom, max(left, 0) : right].all()
        assert reached.sum() <= (bottom - top + 1) * (right - left + 1)
