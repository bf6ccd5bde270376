"""Print the figures of temporal tiling: exactness, memory, what reuse saves, how near held attention comes.

    python scripts/tiling_report.py [FIGURE ...] --clips DIR

Needs a folder with real clips (static_camera.mp4, film.mp4, world.mp4) and an idle machine for the times. Everything
that is made lies in a temporary folder and is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from vs_smsr import engine as engines
from vs_smsr.engine.contract import Frame
from vs_smsr.families import family
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, TilingOptions, parse_bytes
from vs_smsr.tiling import Sequence, TemporalTile, TiledFrame, Tiler, TileState, open_tile, prediction
from vs_smsr.tiling.tile_state import psnr
from vs_smsr.weights import Weights, load, shipped, store

WARM = 3  # frames of a clip that are computed before any is timed
NAMES = ("film", "world", "static_camera")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=list(FIGURES), help=", ".join(FIGURES))
    parser.add_argument("--clips", type=Path, default=Path(__file__).parents[2] / "shared/data/clips")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--frames", type=int, default=48, help="of each clip that is computed here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.clips, Path(folder), arguments.precision, arguments.frames)
        print(f"engine: {bench.engine.name}, {bench.engine.precision}\n")
        for name in arguments.figures:
            FIGURES[name](bench)


@dataclass(frozen=True)
class Timed:
    """A run over a clip: what came out, the share reused of each frame, seconds."""

    digests: list[str]
    reused: list[float]
    seconds: float


@dataclass
class Pairs:
    """Frames with reuse and without: seconds of each, dB alike (infinite: equal), share reused."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    reused: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return sum(self.theirs) / sum(self.ours)


class Bench:
    """Clips, weights and an engine."""

    def __init__(self, clips: Path, folder: Path, precision: str, frames: int) -> None:
        self.clips, self.folder, self.precision, self.frames = clips, folder, precision, frames
        self.engine = engines.create(EngineOptions(precision=precision))  # type: ignore[arg-type]
        self.engine.upscale(np.zeros((64, 64, 3), np.float32))  # compiled before anything is timed

    def read(self, path: Path, count: int) -> list[Frame]:
        with Reader(path) as reader:
            return [to_rgb(frame) for frame in islice(reader, count)]

    def still(self) -> Frame:
        """(H, W, 3) uint8: one frame of the static camera."""
        return np.rint(self.read(self.clips / "static_camera.mp4", 1)[0]).astype(np.uint8)

    def static_clip(self, count: int, size: tuple[int, int] | None = None, shown: int = 1) -> Path:
        """H.264 of a real still in which one object moves over 8 % of the frame; each picture is shown so often.

        Pictures shown more than once are coded without loss: they are to be equal when decoded.
        """
        still = self.still()
        if size:
            still = cv2.resize(still, size, interpolation=cv2.INTER_CUBIC)
        height, width = still.shape[:2]
        side = int(np.sqrt(0.08 * height * width))
        thing = cv2.resize(still[height // 3 : height // 3 + side, width // 3 :][:, :side], (side, side))[::-1]
        frames = []
        for n in range(count):
            x = round((width - side) * (0.5 - 0.5 * np.cos(n // shown / 40)))
            frame = still.copy()
            frame[height // 4 : height // 4 + side, x : x + side] = thing
            frames.append(frame)
        return self.write(frames, "20" if shown == 1 else "0")

    def write(self, frames: Items[Frame], crf: str = "20") -> Path:
        """An H.264 file of (H, W, 3) uint8 frames."""
        path = self.folder / f"clip{len(list(self.folder.iterdir()))}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": crf, "threads": "1"})
            stream.height, stream.width, stream.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    def run(self, frames: Items[Frame], **options: object) -> tuple[list[TiledFrame], float]:
        """All frames in order; results and seconds."""
        sequence = Sequence(Tiler(self.engine, TilingOptions(**options)))  # type: ignore[arg-type]
        start = time.perf_counter()
        results = [sequence.upscale(frame) for frame in frames]
        return results, time.perf_counter() - start

    def timed(self, frames: Items[Frame], **options: object) -> Timed:
        """All frames in order; results are not kept, as a writer would not: fresh memory for each takes time too."""
        sequence = Sequence(Tiler(self.engine, TilingOptions(**options)))  # type: ignore[arg-type]
        digests, reused, seconds = [], [], 0.0
        for frame in frames:
            start = time.perf_counter()
            result = sequence.upscale(frame)
            seconds += time.perf_counter() - start
            digests.append(hashlib.blake2b(result.frame.data).hexdigest())
            reused.append(result.reused)
        return Timed(digests, reused, seconds)

    def side_by_side(self, frames: Items[Frame], reuse: str, attention: str = "auto") -> Pairs:
        """Each frame with that reuse and without, in turn.

        Both have run over the first frames before, so that the memory they need is there: else the first one pays.
        """
        tilers = [
            Tiler(self.engine, TilingOptions(attention=attention, reuse=mode))  # type: ignore[arg-type]
            for mode in (reuse, "off")
        ]
        for tiler in tilers:
            warm = Sequence(tiler)
            for frame in frames[:WARM]:
                warm.upscale(frame)
            del warm
            tiler.rests = True  # as at the start of a clip
        ours, theirs = map(Sequence, tilers)
        found = Pairs()
        for frame in frames:
            results = []
            for sequence, seconds in ((ours, found.ours), (theirs, found.theirs)):
                start = time.perf_counter()
                results.append(sequence.upscale(frame))
                seconds.append(time.perf_counter() - start)
            found.alike.append(psnr(results[0].frame, results[1].frame))
            found.reused.append(results[0].reused)
        return found

    def weights(self, scale: int) -> Path:
        """The shipped x2 weights with a tail for another scale: for memory and time, not for the eye."""
        source = load(shipped(2))
        rng = np.random.default_rng(0)
        tensors = dict(source.tensors)
        spec = family(source.spec.family).spec(scale)
        for name, shape in spec.shapes.items():
            if name.startswith("tail"):
                tensors[name] = (rng.standard_normal(shape) * 0.01).astype(np.float32)
        path = self.folder / f"x{scale}.safetensors"
        store(Weights(spec, tensors), path)
        return path

    def peak(self, source: Path, *arguments: str) -> tuple[int, float]:
        """Peak resident bytes and seconds of `vs-smsr upscale`."""
        command = [sys.executable, "-m", "vs_smsr", "upscale", str(source), "-o", str(self.folder / "out.mkv")]
        command += ["--overwrite", "--no-progress", "--precision", self.precision, *arguments]
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(0.05)
        if process.returncode:
            print("   failed:", process.stderr.read().decode().strip() if process.stderr else "")
        return peak, time.perf_counter() - start


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def exact(bench: Bench) -> None:
    rng, wrong, cases = np.random.default_rng(0), 0, 0
    for _ in range(12):
        height, width, tile = (int(n) for n in rng.integers((1, 1, 16), (150, 150, 180)))
        frame = rng.uniform(0, 255, (height, width, 3)).astype(np.float32)
        expected = Tiler(bench.engine).upscale(frame).frame
        wrong += not np.array_equal(Tiler(bench.engine, TilingOptions(tile=tile)).upscale(frame).frame, expected)
        cases += 1
    print(f"tiled against untiled, frame mode: {cases - wrong} of {cases} random sizes and tiles bit-equal")


def memory(bench: Bench) -> None:
    source, weights = bench.static_clip(6, (1280, 720)), bench.weights(3)
    for attention in ("frame", "auto"):
        for budget in ("0.6G", "1G", "2G"):
            arguments = ("--weights", str(weights), "--memory", budget, "--attention", attention)
            peak, seconds = bench.peak(source, *arguments)
            print(
                f"1280x720 -> 3840x2160, --attention {attention}, --memory {budget}: peak {peak / 2**30:.3f}G, "
                f"{peak / parse_bytes(budget):.1%} of the budget, {seconds / 6:.1f} s a frame"
            )


def length(bench: Bench) -> None:
    weights, peaks = bench.weights(3), []
    for count in (30, 300):
        source = bench.static_clip(count, (1280, 720), shown=10)  # or it would take hours
        peaks.append(bench.peak(source, "--weights", str(weights), "--memory", "2G")[0])
        print(f"1280x720 -> 3840x2160, --memory 2G, {count} frames: peak {peaks[-1] / 2**30:.3f}G", flush=True)
    print(f"  {abs(peaks[1] / peaks[0] - 1):.1%} apart")


def eight_k(bench: Bench) -> None:
    peak, seconds = bench.peak(bench.static_clip(2, (3840, 2160)), "--memory", "2G")
    print(f"3840x2160 -> 7680x4320, --memory 2G, 2 frames: peak {peak / 2**30:.3f}G, {seconds:.0f} s")


def twos(bench: Bench) -> None:
    once = bench.read(bench.clips / "world.mp4", 12)
    frames = [frame for frame in once for _ in range(2)]
    off, on = bench.timed(frames, reuse="off"), bench.timed(frames)
    print(f"every frame twice: {off.seconds / on.seconds:.2f}x faster, {_alike(on, off)}")


def static(bench: Bench) -> None:
    frames = bench.read(bench.static_clip(bench.frames), bench.frames)
    changed = np.mean([(a != b).any(axis=2).mean() for a, b in pairwise(frames)])
    found = bench.side_by_side(frames, "exact", "held")
    equal = "bytes equal" if min(found.alike) == np.inf else f"{min(found.alike):.1f} dB alike at least"
    print(
        f"static camera, {len(frames)} frames, {changed:.1%} of the pixels change: "
        f"held {found.ratio:.2f}x faster, {np.mean(found.reused[1:]):.0%} reused, {equal}"
    )


def held(bench: Bench) -> None:
    for name in NAMES:
        frames = bench.read(bench.clips / f"{name}.mp4", bench.frames)
        own, _ = bench.run(frames, reuse="off")
        results, _ = bench.run(frames, attention="held")
        chosen, _ = bench.run(frames, attention="auto")
        alike = [psnr(a.frame, b.frame) for a, b in zip(results, own, strict=True) if a.held]
        share = np.mean([result.held for result in chosen])
        print(
            f"held against frame, {name}: {min(alike):.1f} dB at least, {np.median(alike):.1f} in the middle, "
            f"{sum(not result.held for result in results)} temporal tiles; auto holds {share:.0%} of the frames"
        )


def near(bench: Bench) -> None:
    still, rng = bench.still(), np.random.default_rng(0)
    noisy = [np.clip(still + rng.normal(0, 1, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    cases = {"still with camera noise (sigma 1), decoded H.264": bench.read(bench.write(noisy), 12)}
    cases["static_camera.mp4 as it is"] = bench.read(bench.clips / "static_camera.mp4", 12)
    for name, frames in cases.items():
        off, slow = bench.run(frames, attention="held", reuse="off")
        on, fast = bench.run(frames, attention="held", reuse="near:2")
        alike = [psnr(a.frame, b.frame) for a, b in zip(on[1:], off[1:], strict=True)]
        reused = np.mean([result.reused for result in on[1:]])
        print(
            f"near:2, {name}: {slow / fast:.2f}x faster than off, {reused:.0%} reused, "
            f"PSNR against off {min(alike):.1f} dB at least, {np.mean(alike):.1f} on average"
        )


def forward(bench: Bench) -> None:
    for name in ("static_camera", "world"):
        frames = bench.read(bench.clips / f"{name}.mp4", bench.frames)
        found = bench.side_by_side(frames, "forward")
        print(
            f"forward, {name}, {len(frames)} frames: {found.ratio:.2f}x faster than off, {np.mean(found.reused):.0%} "
            f"reused, PSNR against off {min(found.alike):.1f} dB at least, {np.median(found.alike):.1f} in the middle"
        )


def trying(bench: Bench) -> None:
    for path in (bench.clips / "film.mp4", Path(__file__).parents[1] / "tests/data/demo.mp4"):
        frames = bench.read(path, bench.frames)
        found = bench.side_by_side(frames, "auto")
        cost, reused = 1 / found.ratio - 1, np.mean(found.reused)
        print(f"cost of trying, {path.stem}, {len(frames)} frames: {cost:+.1%}, {reused:.0%} reused")


def photograph(bench: Bench) -> None:
    """13.5 megapixels: the static camera's picture enlarged, as sharp as it gets; at first, and with its memory there.

    Where the memory of a virtual machine comes from its host when it is first used, that takes seconds a GB, and the
    first time says more of the host than of us.
    """
    frame = cv2.resize(bench.still(), (4500, 3000), interpolation=cv2.INTER_LANCZOS4).astype(np.float32)
    whole: list[float] = []
    for budget in (None, "4G", "2G"):
        tiler = Tiler(bench.engine, TilingOptions(memory=parse_bytes(budget) if budget else None))
        plan = tiler.plan(*frame.shape[:2])
        expected = prediction.seconds(bench.engine, plan, [frame])
        took = []
        for _ in range(2):
            start = time.perf_counter()
            tiler.upscale(frame)
            took.append(time.perf_counter() - start)
        whole = whole or took
        shares = [f"{seconds:.0f} s, {seconds / of:.2f} of whole" for seconds, of in zip(took, whole, strict=True)]
        print(
            f"4500x3000 x2, memory {budget or 'as needed'}: {' at first; '.join(shares)} with its memory there; "
            f"predicted {expected:.0f} s ({expected / took[0] - 1:+.0%}, {expected / took[1] - 1:+.0%})",
            flush=True,
        )


def order(bench: Bench) -> None:
    frames = [frame[:160, :240].copy() for frame in bench.read(bench.clips / "world.mp4", 10)]
    for attention in ("frame", "held"):
        expected, _ = bench.run(frames, attention=attention, reuse="off")
        for threads in (1, 2):
            engine = engines.create(EngineOptions(precision=bench.precision, threads=threads))  # type: ignore[arg-type]
            for in_flight in (1, 2, 4, 8):
                tiler = Tiler(engine, TilingOptions(attention=attention), in_flight=in_flight)  # type: ignore[arg-type]
                tile = open_tile(tiler, TemporalTile(0, len(frames)))
                tile.upscale(0, frames[0])
                same = _in_random_order(tile, frames, [result.frame for result in expected], in_flight)
                print(f"random order, {attention}, {threads} threads, {in_flight} in flight: {same} of 10 equal")


def _in_random_order(tile: TileState, frames: Items[Frame], expected: Items[Frame], in_flight: int) -> int:
    """How many frames are equal to what is expected."""
    turns = [int(n) for n in np.random.default_rng(in_flight).permutation(len(frames))]
    same: list[bool] = []

    def work() -> None:
        while turns:
            n = turns.pop()
            same.append(np.array_equal(tile.upscale(n, frames[n]).frame, expected[n]))

    workers = [threading.Thread(target=work) for _ in range(in_flight)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(same)


def _alike(a: Timed, b: Timed) -> str:
    return "bytes equal" if a.digests == b.digests else "BYTES DIFFER"


FIGURES: dict[str, Callable[[Bench], None]] = {
    "exact": exact,
    "memory": memory,
    "length": length,
    "8k": eight_k,
    "twos": twos,
    "static": static,
    "held": held,
    "near": near,
    "forward": forward,
    "trying": trying,
    "photograph": photograph,
    "order": order,
}

if __name__ == "__main__":
    main()
