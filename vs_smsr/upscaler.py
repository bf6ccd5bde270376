"""The Python API: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vs_smsr import engine as engines
from vs_smsr.jobs.arrays import Array, ArraySequence, UpscaledArray, upscale_array
from vs_smsr.jobs.queue import in_order
from vs_smsr.options import (
    AUTO,
    IN_ORDER,
    IN_ORDER_REUSE,
    Attention,
    EngineName,
    EngineOptions,
    Precision,
    TilingOptions,
    parse_bytes,
)
from vs_smsr.tiling import Tiler
from vs_smsr.weights import suited


class Upscaler:
    """Upscales images and frames; make one and use it for many, also from several threads at once.

        upscaler = Upscaler()
        large = upscaler.upscale(small)

    Args:
        scale: 2, 3 or 4.
        model: name of shipped weights; "auto" is "smsr", since arrays do not tell how they were coded: for decoded
            footage name "video".
        weights: a .safetensors file to use instead of shipped weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: "auto", "cpu", "cuda" or "reference" (PyTorch).
        precision: "auto" (the fastest that the device has), "fp32", "bf16" or "fp16".
        threads: CPU threads; 0 = all that this process may use.
        memory: limit of the process's memory, in bytes or such as "2G"; None: a share of what is free.
        tile: side of a tile in pixels; 0 = as large as the memory allows. Tiles change no bit of the result.
        attention: of `frames`: each "frame"'s own, "held" from the first frame of a scene, or "auto": held where that
            makes no visible difference. `upscale` always takes the image's own.
        reuse: of `frames`: "exact" copies what did not change; "forward" also blocks that differ by coding noise alone
            from what was computed there last, "auto" where the result is within 50 dB; "near:N" ignores changes up to
            N of 255; or "off".
        temporal_tile: of `frames`: most frames with one attention.
    Attributes:
        engine: name of the engine that was chosen.
        device: "cpu" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        scale: 2, 3 or 4.
        model: name of the weights.
    Raises:
        OptionError: an argument is not allowed. WeightsError: the weights cannot be read.
        EngineError: the engine or device does not work here; the message says which part is missing.
    """

    def __init__(
        self,
        *,
        scale: int = EngineOptions.scale,
        model: str = EngineOptions.model,
        weights: Path | str | None = None,
        device: str = EngineOptions.device,
        engine: EngineName = EngineOptions.engine,
        precision: Precision = EngineOptions.precision,
        threads: int = EngineOptions.threads,
        memory: int | str | None = None,
        tile: int = TilingOptions.tile,
        attention: Attention = IN_ORDER,
        reuse: str = IN_ORDER_REUSE,
        temporal_tile: int = TilingOptions.temporal_tile,
    ) -> None:
        options = EngineOptions(
            scale=scale,
            model=suited(scale) if model == AUTO else model,
            weights=None if weights is None else Path(weights),
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
        )
        limit = parse_bytes(memory) if isinstance(memory, str) else memory
        tiling = TilingOptions(memory=limit, tile=tile, attention=attention, reuse=reuse, temporal_tile=temporal_tile)
        self._tiler = Tiler(engines.create(options), tiling)
        chosen = self._tiler.engine
        self.engine, self.device, self.precision, self.scale = chosen.name, chosen.device, chosen.precision, scale
        self.model = options.network

    def __repr__(self) -> str:
        return f"Upscaler(scale={self.scale}, engine={self.engine!r}, device={self.device!r}, {self.precision})"

    def upscale(self, array: Array) -> Array:
        """Upscale one image.

        Args:
            array: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, or (H, W, 4) RGB with straight alpha; uint8 0..255,
                uint16 0..65535, float16 or float32 0..1; gamma as coded (sRGB, BT.709 ...), any size from 1x1.
        Returns:
            (scale * H, scale * W[, C]) of the same dtype and range: a new array.
        Raises:
            OptionError: wrong shape or dtype, or a value is not finite.
            MemoryBudgetError: the memory does not suffice; the message names the least that does.
        """
        return self.upscale_with_info(array).pixels

    def upscale_with_info(self, array: Array) -> UpscaledArray:
        """As `upscale`, but the result also tells how much work the masks saved."""
        return upscale_array(self._tiler, array)

    def frames(self, arrays: Iterable[Array]) -> Iterator[Array]:
        """Upscale the arrays of one clip, in order; see `upscale`.

        Each is taken only when it is its turn; a GPU takes two more ahead, to be busy while results are copied.
        What did not change since the array before is copied, by `attention` and `reuse`. Arrays that were given must
        not be changed afterwards; results are new arrays.
        """
        started = map(ArraySequence(self._tiler).submit, arrays)
        for result in in_order(started, self._tiler.engine.capabilities.in_flight):
            yield result.pixels
