"""SMSR's masks in plain PyTorch: take the active pixels' neighbourhoods, multiply matrices, scatter.

What one gets from the paper's idea without writing a kernel. Only work that the masks leave is done: dense -> dense
channels are convolved everywhere, all that touches a sparse channel is a matrix product over active pixels. There are
two ways to the neighbourhoods: `Unfolded`, the plain one, as the paper describes it, and `Indexed`, the fastest found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vs_smsr.network.smsr import SMSR, SparseMaskModule


class Neighbourhoods(Protocol):
    """The 3x3 neighbourhoods of a mask's active pixels, as matrices (active, 9 * channels).

    Attributes:
        taps_first: columns are ordered [tap][channel], else [channel][tap].
    """

    taps_first: bool

    def __init__(self, mask: Tensor, active: Tensor) -> None:
        """Take a mask (H, W) bool and its active pixels, numbered row by row."""

    def of_map(self, dense: Tensor) -> Tensor:
        """Of a map (1, C, H, W)."""
        ...

    def of_rows(self, sparse: Tensor) -> Tensor:
        """Of channels that are known at active pixels only, (active, C), and zero elsewhere."""
        ...


class Unfolded:
    """Unfold the whole map, keep the active pixels' columns."""

    taps_first = False

    def __init__(self, mask: Tensor, active: Tensor) -> None:
        self._mask, self._active = mask, active

    def of_map(self, dense: Tensor) -> Tensor:
        if not dense.shape[1]:
            return dense.new_zeros(len(self._active), 0)
        return F.unfold(dense, 3, padding=1)[0].index_select(1, self._active).T

    def of_rows(self, sparse: Tensor) -> Tensor:
        height, width = self._mask.shape
        lines = sparse.new_zeros(height * width, sparse.shape[1]).index_copy(0, self._active, sparse)
        return self.of_map(_image(lines, height, width))


class Indexed:
    """Index each active pixel's nine neighbours; sparse channels stay compact rows, found by an inverse map."""

    taps_first = True

    def __init__(self, mask: Tensor, active: Tensor) -> None:
        height, width = mask.shape
        pitch = width + 2
        corner = active // width * pitch + active % width  # top left neighbour, in a frame with a border of one pixel
        step = torch.tensor([dy * pitch + dx for dy in range(3) for dx in range(3)])
        self._around = (corner[:, None] + step).flatten()
        row = torch.zeros((height + 2) * pitch, dtype=torch.long)  # pixel -> its row; 0 = inactive
        row[corner + pitch + 1] = torch.arange(1, len(active) + 1)
        self._rows_around = row[self._around]

    def of_map(self, dense: Tensor) -> Tensor:
        return self._take(_lines(F.pad(dense, (1, 1, 1, 1))), self._around)

    def of_rows(self, sparse: Tensor) -> Tensor:
        return self._take(F.pad(sparse, (0, 0, 1, 0)), self._rows_around)  # row 0 is zero

    @staticmethod
    def _take(lines: Tensor, numbers: Tensor) -> Tensor:
        return lines.index_select(0, numbers).view(len(numbers) // 9, 9 * lines.shape[1])


@dataclass(frozen=True)
class Layer:
    """A masked convolution's weights, split by the channel masks of its input and output."""

    dense_to_dense: Tensor  # (dense out, dense in, 3, 3)
    dense_to_sparse: Tensor  # (9 * dense in, sparse out)
    sparse_to_all: Tensor  # (9 * sparse in, dense out + sparse out)


@dataclass(frozen=True)
class Module:
    """The layers of an SMM, and its 1x1 collect split the same way."""

    layers: tuple[Layer, ...]
    collect_dense: Tensor  # (64, all dense channels, 1, 1)
    collect_sparse: Tensor  # (all sparse channels, 64)
    network: SparseMaskModule


class Gather:
    """The network for one frame at a time."""

    def __init__(self, network: SMSR, neighbourhoods: type[Neighbourhoods]) -> None:
        self._network = network.to(memory_format=torch.channels_last)
        self._neighbourhoods = neighbourhoods
        taps_first = neighbourhoods.taps_first
        self._modules = [_split(cast(SparseMaskModule, module), taps_first) for module in network.body]

    def __call__(self, frame: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(H, W, 3) RGB 0..255 -> (sH, sW, 3) 0..255, and 5 masks (H, W) bool."""
        network = self._network
        centred = network.sub_mean(frame.permute(2, 0, 1).unsqueeze(0))
        features = start = network.head(centred)
        outputs, masks = [], []
        for module in self._modules:
            logits = module.network.spa_mask(features)
            mask = logits[0, 1] > logits[0, 0]
            active = mask.flatten().nonzero().flatten()
            body = _body(module, features, active, self._neighbourhoods(mask, active))
            features = body * module.network.ca(body) + features
            outputs.append(features)
            masks.append(mask)
        merged = network.collect(torch.cat(outputs, 1)) + start
        enlarged = F.interpolate(centred, scale_factor=network.scale, mode="bicubic", align_corners=False)
        out = network.add_mean(network.tail(merged) + enlarged)
        return out[0].clamp(0, 255).permute(1, 2, 0), masks


def _split(module: SparseMaskModule, taps_first: bool) -> Module:
    """Weights reordered [dense | sparse] and cut."""
    body = module.body
    channel_is_dense = body.hard_dense()
    layers, dense_columns, sparse_columns = [], [], []
    order, dense_inputs = torch.arange(64), 64  # the SMM's input counts as all dense
    for index, convolution in enumerate(body.body):
        dense = channel_is_dense[:, index].nonzero().flatten()
        sparse = (~channel_is_dense[:, index]).nonzero().flatten()
        weight = cast(Tensor, convolution.weight).detach()[torch.cat((dense, sparse))][:, order]
        from_dense, from_sparse = weight[:, :dense_inputs], weight[:, dense_inputs:]
        layers.append(
            Layer(
                from_dense[: len(dense)].contiguous(memory_format=torch.channels_last),
                _as_matrix(from_dense[len(dense) :], taps_first),
                _as_matrix(from_sparse, taps_first),
            )
        )
        dense_columns.append(index * 64 + dense)
        sparse_columns.append(index * 64 + sparse)
        order, dense_inputs = torch.cat((dense, sparse)), len(dense)
    collect = body.collect.weight.detach()
    collect_sparse = collect[:, torch.cat(sparse_columns), 0, 0].T.contiguous()
    return Module(tuple(layers), collect[:, torch.cat(dense_columns)], collect_sparse, module)


def _as_matrix(weight: Tensor, taps_first: bool) -> Tensor:
    """(out, in, 3, 3) -> (9 * in, out), in the order of the neighbourhoods."""
    order = (2, 3, 1, 0) if taps_first else (1, 2, 3, 0)
    return weight.permute(order).reshape(9 * weight.shape[1], weight.shape[0]).contiguous()


def _body(module: Module, features: Tensor, active: Tensor, neighbourhoods: Neighbourhoods) -> Tensor:
    """The masked convolutions and the collect of an SMM: (1, 64, H, W) -> (1, 64, H, W)."""
    _, _, height, width = features.shape
    dense, sparse = features, torch.zeros(len(active), 0)
    dense_maps, sparse_rows = [], []
    for layer in module.layers:
        dense_outputs = layer.dense_to_dense.shape[0]
        at_active = neighbourhoods.of_rows(sparse) @ layer.sparse_to_all
        at_active[:, dense_outputs:] += neighbourhoods.of_map(dense) @ layer.dense_to_sparse
        if dense_outputs and dense.shape[1]:
            dense = F.conv2d(dense, layer.dense_to_dense, padding=1)
        else:
            dense = dense.new_zeros(1, dense_outputs, height, width)
        lines = _lines(dense).index_add(0, active, at_active[:, :dense_outputs])
        dense = F.relu(_image(lines, height, width))
        sparse = F.relu(at_active[:, dense_outputs:])
        dense_maps.append(dense)
        sparse_rows.append(sparse)
    collected = F.conv2d(torch.cat(dense_maps, 1), module.collect_dense, module.network.body.collect.bias)
    lines = _lines(collected).index_add(0, active, torch.cat(sparse_rows, 1) @ module.collect_sparse)
    return _image(lines, height, width)


def _lines(image: Tensor) -> Tensor:
    """(1, C, H, W) -> (H * W, C)."""
    _, channels, height, width = image.shape
    return image.permute(0, 2, 3, 1).reshape(height * width, channels)


def _image(lines: Tensor, height: int, width: int) -> Tensor:
    """(H * W, C) -> (1, C, H, W) in channels-last memory."""
    return lines.view(1, height, width, lines.shape[1]).permute(0, 3, 1, 2)
