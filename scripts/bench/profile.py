"""Where our time goes, from the engine's own profile."""

from __future__ import annotations

from vs_smsr.engine.profile import Profile

MULTIPLYING = {  # kernels that are convolutions; their loads, stores, relu and sums are counted with them
    "convolution",
    "quad_convolution",
    "pooled_convolution",
    "active_quads",
    "inactive_quads",
    "active_fuse",
    "inactive_fuse",
    "residual_collect",
    "shuffled_convolution",
    "tail_convolution",
}
OTHERS = {"bicubic", "centre", "clear", "clear_border", "count", "decide", "merge_rows", "move", "select"}
SPARSE = ("active_quads",)  # the masked 3x3 convolution at active pixels


def by_kernel(profile: Profile) -> dict[tuple[str, int | None], float]:
    """Seconds by (kernel, SMM); the SMM is None outside SMMs.

    Raises:
        RuntimeError: a kernel is not known here, so that it cannot be told whether it is a convolution.
    """
    found = {key: seconds for key, seconds in profile.seconds.items() if key[0] != "frame" and seconds}
    unknown = {kernel for kernel, _ in found} - MULTIPLYING - OTHERS
    if unknown:
        raise RuntimeError(f"scripts/bench/profile.py must be told about the kernels {', '.join(sorted(unknown))}.")
    return found


def seconds(profile: Profile, kernels: tuple[str, ...]) -> float:
    """Of all launches of these kernels."""
    return sum(spent for (name, _), spent in by_kernel(profile).items() if name in kernels)


def shares(profile: Profile) -> dict[str, float]:
    """Share of the frames' time by "kernel" (outside SMMs) or "kernel/SMM" (1..5), and of what is in no kernel."""
    whole = profile.seconds["frame", None]
    found = {
        kernel if module is None else f"{kernel}/{module + 1}": spent / whole
        for (kernel, module), spent in by_kernel(profile).items()
    }
    found["no kernel"] = 1 - sum(found.values())
    return found


def outside_convolutions(profile: Profile) -> float:
    """Share of the frames' time that is not spent in kernels that multiply."""
    inside = sum(spent for (kernel, _), spent in by_kernel(profile).items() if kernel in MULTIPLYING)
    return 1 - inside / profile.seconds["frame", None]
