"""What a network is, as data: stages of convolutions, masks and global means. Everything else is derived from it.

A network of this kind enlarges an RGB frame x (0..255) by `scale`; act is a leaky relu, of slope 0 by default:

    f_0 = conv(act(conv(x - mean))), or conv(x - mean)                     the head
    f_k = g_k * attention_k + f_(k-1),  k = 1..K                           masked blocks
    g_k = fuse_k([what is kept of a_1 .. a_L]), or a_L                     their body
    a_l = act(mask_l(conv(dense part of what a_(l-1) passes on) + M * conv(its sparse part)))
    y   = conv(act(conv1x1([f_1 .. f_K]))) + f_0, or f_K                   the collect
    y   = act(pixel_shuffle(conv(y), 2)) * U, any number of times          upsampling
    out = pixel_shuffle(conv(y)) + bicubic(x)                              the tail

M is the block's spatial mask (1 at active pixels); mask_l keeps a layer's dense channels everywhere and its sparse
channels at active pixels. The first layer's input counts as all dense. U is 1 where a 2x2 of source pixels has one that
is active for the upsampling's mask, and everywhere without one. Head, mask branches, collect and tail are computed at
every pixel. All 3x3 convolutions are padded with zeros.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vs_smsr.families.parts import (
    ChannelAttention,
    Convolution,
    DynamicChannels,
    GradientMask,
    LearnedMask,
    MaskedBlock,
    Shapes,
)

SUM_UNIT = 2.0**-20  # channel sums are integers of this unit, so that any order of adding gives the same bits


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """One network.

    Attributes:
        family: the name under which `families` knows it, and the version of its layout.
        mean: RGB 0..255, subtracted before the head.
        head: one or two convolutions, 3 -> width (-> width).
        collect: a 1x1 from len(blocks) * width to width channels, and a 3x3; None: the last block's result goes on.
        upsampling: convolutions from width to 4 * width channels, each at twice the size of the one before.
        upsampling_mask: where upsampling is computed, by the last block's result; None: everywhere.
        tail: to 3 * (scale / 2**len(upsampling))**2 channels.
        slope: of the leaky relu in head, collect and upsampling.
    Raises:
        ValueError: the widths of two stages do not fit, or it is a network that no engine runs.
    """

    family: str
    version: int
    scale: int
    mean: tuple[float, float, float]
    head: tuple[Convolution, ...]
    blocks: tuple[MaskedBlock, ...]
    collect: tuple[Convolution, Convolution] | None
    tail: Convolution
    upsampling: tuple[Convolution, ...] = ()
    upsampling_mask: LearnedMask | None = None
    slope: float = 0.0

    def __post_init__(self) -> None:
        _require(len(self.head) in (1, 2), f"a head must have one or two convolutions, got {len(self.head)}")
        _require(bool(self.blocks), "a network must have at least one masked block")
        steps = 1 << len(self.upsampling)
        _require(
            self.scale % steps == 0, f"the scale must be a multiple of {steps} for its upsampling, got {self.scale}"
        )
        for convolution, inputs, outputs in self._widths():
            _require(
                (convolution.inputs, convolution.outputs) == (inputs, outputs),
                f"{convolution.name} must map {inputs} to {outputs} channels, got "
                f"{convolution.inputs} to {convolution.outputs}",
            )
        if self.upsampling_mask:
            _require(bool(self.upsampling), "without upsampling there is nothing to mask")
            _require(self.collect is None, "upsampling that is masked must follow the last block, got a collect")
        for block in self.blocks:
            _require(block.fuse is not None or not block.distilled, "distilled channels must have a fuse to go to")
            for layer in block.layers:
                _require(layer.size == 3, f"{layer.name} is masked and must be 3x3, got {layer.size}x{layer.size}")
                _require(not layer.bias, f"{layer.name} is masked and must have no bias")

    def _widths(self) -> Iterator[tuple[Convolution, int, int]]:
        """Every convolution between stages, with the channels that it must take and give."""
        c, inputs = self.width, 3
        for convolution in self.head:
            yield convolution, inputs, c
            inputs = c
        for block in self.blocks:
            yield from block.widths(c)
        if self.collect:
            yield self.collect[0], len(self.blocks) * c, c
            yield self.collect[1], c, c
        for convolution in self.upsampling:
            yield convolution, c, 4 * c
        if self.upsampling_mask:
            yield from self.upsampling_mask.widths(c)
        yield self.tail, c, 3 * self.tail_scale**2

    @property
    def width(self) -> int:
        """Channels of the features f_0 .. f_K."""
        return self.head[-1].outputs

    @property
    def tail_scale(self) -> int:
        """What is left to the tail's own pixel shuffle."""
        return self.scale >> len(self.upsampling)

    @property
    def stages(self) -> int:
        """Stages whose result is kept when a frame goes stage by stage: the head and the K blocks."""
        return len(self.blocks) + 1

    @property
    def masks(self) -> tuple[LearnedMask | GradientMask | None, ...]:
        """By number: each block's, then the upsampling's where it has one."""
        last = (self.upsampling_mask,) if self.upsampling_mask else ()
        return *(block.mask for block in self.blocks), *last

    @property
    def dynamic(self) -> bool:
        """Do the channel masks of a block follow from the frame?"""
        return any(isinstance(block.channel_mask, DynamicChannels) for block in self.blocks)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Those outside blocks, in the order in which data passes them."""
        return *self.head, *(self.collect or ()), *self.upsampling, self.tail

    @cached_property
    def shapes(self) -> Shapes:
        """Name and shape of every learned tensor, in the order in which data passes them."""
        table: Shapes = {}
        for convolution in self.head:
            table |= convolution.shapes()
        for block in self.blocks:
            table |= block.shapes()
        branch = self.upsampling_mask.convolutions if self.upsampling_mask else ()
        for convolution in (*branch, *self.convolutions[len(self.head) :]):
            table |= convolution.shapes()
        return table

    @property
    def macs(self) -> int:
        """Multiply-adds of a source pixel when nothing is skipped, as papers count them.

        Not counted: biases, means, attention, predicted channel masks, the bicubic base. The second convolution of a
        mask works at a quarter of the pixels, each upsampling makes four of one; a transposed convolution is counted
        by the numbers of its kernel too.
        """
        plain: int = sum(convolution.macs for convolution in (*self.head, *(self.collect or ())))
        branches = sum(mask.macs for mask in self.masks if isinstance(mask, LearnedMask))
        bodies = sum(convolution.macs for block in self.blocks for convolution in block.body)
        tail = self.tail.macs << 2 * len(self.upsampling)
        return plain + branches + bodies + self._upsampling_macs + tail

    @property
    def masked_macs(self) -> tuple[int, ...]:
        """Multiply-adds of a source pixel that each of `masks` can save: those of a block's body, or the upsampling."""
        bodies = (sum(convolution.macs for convolution in block.body) for block in self.blocks)
        return *bodies, *([self._upsampling_macs] if self.upsampling_mask else [])

    @property
    def _upsampling_macs(self) -> int:
        return sum(convolution.macs << 2 * level for level, convolution in enumerate(self.upsampling))

    def to_json(self) -> str:
        """The spec as text, for a weights file."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> NetworkSpec:
        """The way back.

        Raises:
            ValueError: it is not the text of a spec.
        """
        try:
            return _spec(json.loads(text))
        except (KeyError, TypeError) as error:
            raise ValueError(f"spec: must be the JSON of a network spec, got {text[:60]!r}.") from error


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(f"spec: {rule}.")


def _spec(fields: Mapping[str, Any]) -> NetworkSpec:
    def convolutions(name: str) -> tuple[Convolution, ...]:
        return tuple(Convolution(**one) for one in fields.get(name) or ())

    red, green, blue = fields["mean"]
    first, second = convolutions("collect") or (None, None)
    mask = fields.get("upsampling_mask")
    return NetworkSpec(
        **{
            **fields,
            "mean": (red, green, blue),
            "head": convolutions("head"),
            "blocks": tuple(map(_block, fields["blocks"])),
            "collect": (first, second) if first else None,
            "upsampling": convolutions("upsampling"),
            "upsampling_mask": mask and LearnedMask(**_parts(mask)),
            "tail": Convolution(**fields["tail"]),
        }
    )


def _block(fields: Mapping[str, Any]) -> MaskedBlock:
    mask, channels = fields["mask"], fields["channel_mask"]
    return MaskedBlock(
        **{
            **fields,
            "mask": mask and (GradientMask if "threshold" in mask else LearnedMask)(**_parts(mask)),
            "layers": tuple(Convolution(**layer) for layer in fields["layers"]),
            "channel_mask": DynamicChannels(**_parts(channels)) if isinstance(channels, Mapping) else channels,
            "fuse": fields["fuse"] and Convolution(**fields["fuse"]),
            "attention": fields["attention"] and ChannelAttention(**_parts(fields["attention"])),
        }
    )


def _parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields, convolutions among them."""
    return {name: Convolution(**value) if isinstance(value, Mapping) else value for name, value in fields.items()}
