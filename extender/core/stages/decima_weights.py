"""Weights of Decima (SIGCOMM'19), as an .npz of ours and out of the published TensorFlow checkpoint.

Seven blocks of fully connected layers; block `b`, layer `i` has the arrays `b.i.w` (inputs x outputs) and
`b.i.b` (outputs). A checkpoint's data file is plain little-endian float32; both published epochs have
the same layout, so that its index need not be read. No weights come with this package.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]

_SIZES: Final[Mapping[str, tuple[int, ...]]] = {
    "prepare": (5, 16, 8, 8),
    "process": (8, 16, 8, 8),
    "aggregate": (8, 16, 8, 8),
    "job": (13, 16, 8, 8),
    "all_jobs": (8, 16, 8, 8),
    "stage_head": (29, 32, 16, 8, 1),
    "limit_head": (20, 32, 16, 8, 1),
}
_OFFSETS: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "prepare": ((0, 61160), (74440, 88200), (88360, 89640)),
    "process": ((89800, 92360), (92680, 95240), (61480, 62760)),
    "aggregate": ((62920, 65480), (65800, 68360), (68520, 69800)),
    "job": ((69960, 74120), (77000, 79560), (79720, 81000)),
    "all_jobs": ((81160, 83720), (84040, 86600), (86760, 88040)),
    "stage_head": ((2240, 1600), (21120, 20800), (31520, 31360), (34100, 34080)),
    "limit_head": ((34900, 34260), (48020, 47700), (58420, 58260), (61000, 60980)),
}
CHECKPOINT_BYTES: Final = 95_416


class WeightsUnusable(ValueError):
    """Not the weights of this network; the text says which array is wrong and how."""


@dataclass(frozen=True, slots=True)
class DecimaWeights:
    """Layers of each block in order, as (weights, biases), float32 and finite."""

    blocks: Mapping[str, Layers]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> DecimaWeights:
        """From arrays by name. Raises `WeightsUnusable`."""
        blocks: dict[str, Layers] = {}
        for block, sizes in _SIZES.items():
            layers: list[tuple[Floats, Floats]] = []
            for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
                weights = _checked(arrays, f"{block}.{layer}.w", (inputs, outputs))
                layers.append((weights, _checked(arrays, f"{block}.{layer}.b", (outputs,))))
            blocks[block] = tuple(layers)
        return cls(blocks)

    @classmethod
    def from_npz(cls, data: bytes) -> DecimaWeights:
        """From the content of an .npz file. Raises `WeightsUnusable`."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        # NumPy and zipfile raise whatever a broken archive makes them raise.
        except Exception as problem:
            raise WeightsUnusable(
                f"not an .npz file of arrays ({problem}); convert a checkpoint first"
            ) from None
        return cls.from_arrays(arrays)

    @classmethod
    def from_checkpoint(cls, data: bytes) -> DecimaWeights:
        """From the content of `model_ep_*.data-00000-of-00001`. Raises `WeightsUnusable`."""
        if len(data) != CHECKPOINT_BYTES:
            raise WeightsUnusable(
                f"{len(data)} bytes, but a checkpoint's data file has {CHECKPOINT_BYTES}: "
                "give model_ep_*.data-00000-of-00001, not .index or .meta"
            )
        arrays: dict[str, NDArray[np.generic]] = {}
        for block, offsets in _OFFSETS.items():
            sizes = _SIZES[block]
            for layer, (weights_at, biases_at) in enumerate(offsets):
                inputs, outputs = sizes[layer], sizes[layer + 1]
                weights = np.frombuffer(data, "<f4", inputs * outputs, weights_at)
                arrays[f"{block}.{layer}.w"] = weights.reshape(inputs, outputs)
                arrays[f"{block}.{layer}.b"] = np.frombuffer(data, "<f4", outputs, biases_at)
        return cls.from_arrays(arrays)

    def arrays(self) -> dict[str, Floats]:
        """All arrays by name, the opposite of `from_arrays`."""
        return {
            f"{block}.{number}.{kind}": array
            for block, layers in self.blocks.items()
            for number, layer in enumerate(layers)
            for kind, array in zip("wb", layer, strict=True)
        }

    def to_npz(self) -> bytes:
        """Content of an .npz file that `from_npz` reads."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **self.arrays())
        return file.getvalue()


def _checked(arrays: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> Floats:
    array = arrays.get(name)
    if array is None:
        raise WeightsUnusable(f"array {name} is missing: these are not Decima's weights")
    if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        raise WeightsUnusable(f"array {name} is {array.dtype}{array.shape}, it must be float32{shape}")
    if not np.isfinite(array).all():
        raise WeightsUnusable(f"array {name} holds values that are not finite: the file is damaged")
    return np.ascontiguousarray(array, dtype=np.float32)
