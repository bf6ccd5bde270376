"""Figures over time as SVG, to stand inside a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

POINTS = 1000  # most along a line; of more, the least of each part is drawn, as the worst frames must be seen
HEIGHT = 100


def plot(heading: str, names: Sequence[str], lines: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """One metric of several results.

    Args:
        heading: name of the metric.
        names: of the results.
        lines: for each its times in seconds and its values.
    """
    low = min(min(values) for _, values in lines)
    high = max(max(values) for _, values in lines)
    end = max(max(times) for times, _ in lines) or 1
    drawn = []
    for number, (times, values) in enumerate(lines):
        across, down = _reduced(np.array(times), np.array(values))
        y = HEIGHT - HEIGHT * (down - low) / ((high - low) or 1)
        points = " ".join(f"{1000 * one / end:.1f},{other:.1f}" for one, other in zip(across, y, strict=True))
        drawn.append(f'<polyline class="line l{number % 4}" points="{points}"/>')
    legend = "".join(f'<span class="l{n % 4}">{escape(name)}</span>' for n, name in enumerate(names))
    return (
        f"<h2>{escape(heading)} <small>{low:.4g} to {high:.4g}, over {end:.4g} s {legend}</small></h2>"
        f'<svg viewBox="0 -4 1000 {HEIGHT + 8}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(heading)} over time">'
        f'<path class="grid" d="M0 0H1000M0 {HEIGHT // 2}H1000M0 {HEIGHT}H1000"/>{"".join(drawn)}</svg>'
    )


def _reduced(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(times) <= POINTS:
        return times, values
    starts = np.linspace(0, len(times), POINTS, endpoint=False, dtype=int)
    return times[starts], np.minimum.reduceat(values, starts)
