"""All contenders in turn on the same frames; medians, and ratios of those whose output is right."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.check import Error, Reference
from bench.contenders import AGAINST, ONE_THREAD, Contender, Ours
from bench.machine import Watch
from bench.profile import outside_convolutions, shares
from bench.work import dense_macs, used_macs
from vs_smsr.engine.contract import Frame
from vs_smsr.network import SMSR
from vs_smsr.weights import Weights

REST = 0.05  # seconds between two runs, in which the threads of the last one fall asleep
Key = tuple[str, str]  # name, precision


@dataclass(frozen=True)
class Lap:
    """One contender on one frame.

    Attributes:
        seconds: median.
        all_seconds: every run, in order.
        gflops: 10^9 operations a second that were done (two per multiply-add).
        gflops_dense: the same time counted with the dense network's operations.
    """

    seconds: float
    all_seconds: list[float]
    gflops: float
    gflops_dense: float
    error: Error
    refused: str


@dataclass
class Heat:
    """All contenders on one frame."""

    name: str
    height: int
    width: int
    active: tuple[float, ...] = ()
    laps: dict[Key, Lap] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)  # by precision, then kernel
    outside: dict[str, float] = field(default_factory=dict)
    others: float = 0.0  # CPUs that other processes used meanwhile

    def ratio(self, name: str, precision: str) -> float | None:
        """Theirs over ours; None if it did not run or either output is wrong."""
        theirs, ours = self.laps.get((name, precision)), self.laps.get(("ours", precision))
        if theirs is None or ours is None or theirs.refused or ours.refused:
            return None
        return theirs.seconds / ours.seconds

    def to_json(self) -> dict[str, Any]:
        """By contender and precision."""
        runs: dict[str, dict[str, Any]] = {}
        for (name, precision), lap in self.laps.items():
            runs.setdefault(name, {})[precision] = asdict(lap)
        ratios: dict[str, dict[str, float | None]] = {}
        for name, precision in self.laps:
            if name in AGAINST:
                ratios.setdefault(name, {})[precision] = self.ratio(name, precision)
        return {
            "name": self.name,
            "height": self.height,
            "width": self.width,
            "active": list(self.active),
            "ratios": ratios,
            "runs": runs,
            "others_cpus": round(self.others, 3),
            "time_shares": self.shares,
            "outside_convolutions": self.outside,
        }


def race(
    frames: Mapping[str, Frame],
    contenders: Sequence[Contender],
    weights: Weights,
    network: SMSR,
    rounds: int,
    say: Callable[[str], None],
) -> list[Heat]:
    """Run every contender `rounds` times on every frame, in an order that is drawn anew each round."""
    heats = []
    for name, frame in frames.items():
        say(f"{name} {frame.shape[1]}x{frame.shape[0]}")
        heats.append(_heat(name, frame, contenders, weights, network, rounds))
    return heats


def _heat(
    name: str, frame: Frame, contenders: Sequence[Contender], weights: Weights, network: SMSR, rounds: int
) -> Heat:
    height, width = frame.shape[:2]
    heat = Heat(name, height, width)
    reference = Reference(network, frame)
    checked = {}
    for contender in contenders:  # this is also the run that warms them up
        contender.prepare(height, width)
        output = contender.run(frame)
        checked[_key(contender)] = reference.error(output), output.masks
    seconds: dict[Key, list[float]] = {key: [] for key in checked}
    watch = Watch()
    order = list(contenders)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for contender in order:
            time.sleep(REST)
            start = time.perf_counter()
            contender.run(frame)
            seconds[_key(contender)].append(time.perf_counter() - start)
    heat.others = watch.others()
    for (who, precision), (error, masks) in checked.items():
        times = seconds[who, precision]
        median = statistics.median(times)
        dense = dense_macs(weights.spec) * height * width
        used = dense if masks is None else used_macs(weights, masks)
        gflops, gflops_dense = (2 * macs / median / 1e9 for macs in (used, dense))
        heat.laps[who, precision] = Lap(median, times, gflops, gflops_dense, error, error.reason(precision))
        if who == "ours" and masks is not None:
            heat.active = tuple(float(mask.mean()) for mask in masks)
    for contender in contenders:
        if isinstance(contender, Ours) and contender.name == "ours":
            profile = contender.profiled(frame, rounds)
            heat.shares[contender.precision] = shares(profile)
            heat.outside[contender.precision] = outside_convolutions(profile)
    return heat


def summary(heats: Sequence[Heat]) -> dict[str, dict[str, dict[str, float | None]]]:
    """{"ratios": geometric means, "worst": least ratios} by contender and precision; None if any frame has none."""
    keys = [key for key in heats[0].laps if key[0] in AGAINST]
    found: dict[str, dict[str, dict[str, float | None]]] = {"ratios": {}, "worst": {}}
    for name, precision in keys:
        ratios = [heat.ratio(name, precision) for heat in heats]
        right = [ratio for ratio in ratios if ratio is not None]
        complete = len(right) == len(ratios)
        found["ratios"].setdefault(name, {})[precision] = statistics.geometric_mean(right) if complete else None
        found["worst"].setdefault(name, {})[precision] = min(right) if complete else None
    return found


def thread_scaling(heats: Sequence[Heat]) -> dict[str, float]:
    """How much faster ours is on all threads than on one, by precision; geometric mean over the frames."""
    found = {}
    for precision in [precision for name, precision in heats[0].laps if name == ONE_THREAD]:
        laps = [(heat.laps[ONE_THREAD, precision], heat.laps["ours", precision]) for heat in heats]
        found[precision] = statistics.geometric_mean(one.seconds / all_.seconds for one, all_ in laps)
    return found


def mean_shares(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean over frames, the largest first."""
    all_shares = list(shares)
    names = {name for one in all_shares for name in one}
    means = {name: statistics.fmean(one.get(name, 0.0) for one in all_shares) for name in names}
    return dict(sorted(means.items(), key=lambda entry: -entry[1]))


def _key(contender: Contender) -> Key:
    return contender.name, contender.precision
