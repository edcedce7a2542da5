# SPDX-License-Identifier: Apache-2.0
"""Writing plans: the text that says what a net computes, and the arrays that it reads. csrc/README.md has the language.

Nothing here knows Paddle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence
from urllib.parse import quote

import numpy as np

from .border import IMAGE, Input, image
from .engine import signed

FIRST_LINE = "paddle_unstructured plan 3"
BLOCKS = (4, 2, 1)  # neighbouring outputs that a kernel handles together
MOST_REACH = 96  # pixels from one end of a window to the other
MOST_INT16 = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pooling: (rows, columns), and padding (top, bottom, left, right).

    With `same`, the padding is what makes ceil(size / stride) outputs of sizes that are known at run time only.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False

    @property
    def fits(self) -> bool:
        """Whether the kernels take it; csrc/engine/window.cpp has the same bounds."""
        reach = [(kernel - 1) * dilation for kernel, dilation in zip(self.kernel, self.dilation)]
        return max(*reach, *self.pad, *self.dilation, *(stride - 1 for stride in self.stride)) <= MOST_REACH

    @property
    def words(self) -> dict[str, str]:
        words = {name: ",".join(map(str, getattr(self, name))) for name in ("kernel", "stride", "pad", "dilation")}
        return {**words, "same": "1"} if self.same else words


@dataclass(frozen=True)
class SparseRows:
    """A matrix without its zeros: what the file stores.

    Attributes:
        values: [entries, block]: the weights of `block` neighbouring outputs for one input.
        columns: [entries]: the input; ascending within a row. int16 where that is enough.
        counts: [ceil(outputs / block)]: entries of each row of blocks.
    """

    values: np.ndarray
    columns: np.ndarray
    counts: np.ndarray

    @property
    def block(self) -> int:
        return int(self.values.shape[1])


def sparse_rows(matrix: np.ndarray, block: int) -> SparseRows:
    """Leave out the blocks that are all zero.

    Args:
        matrix: [outputs, inputs].
        block: Neighbouring outputs; missing ones at the end count as zeros.

    Example:
        >>> rows = sparse_rows(np.array([[0, 5, 0], [7, 6, 0]], np.float32), 2)
        >>> rows.values.tolist(), rows.columns.tolist(), rows.counts.tolist()
        ([[0.0, 7.0], [5.0, 6.0]], [0, 1], [2])
    """
    matrix = np.asarray(matrix, np.float32)
    missing = -len(matrix) % block
    blocks = np.pad(matrix, ((0, missing), (0, 0))).reshape(-1, block, matrix.shape[1])  # [rows, block, inputs]
    rows, columns = (blocks != 0).any(axis=1).nonzero()
    counts = np.bincount(rows, minlength=len(blocks))
    return SparseRows(np.ascontiguousarray(blocks[rows, :, columns]), _narrow(columns), _narrow(counts))


def find_block(matrix: np.ndarray, *, blocks: Sequence[int] = BLOCKS, waste: float = 0.02) -> int:
    """The largest block whose rows hold (almost) no zeros that single entries would leave out.

    Args:
        matrix: [outputs, inputs].
        blocks: Those that there are kernels for, largest first; the last one is 1.
        waste: Zeros among the stored values that are accepted (weights that happen to be zero inside a kept block).
    """
    kept = np.count_nonzero(matrix)
    for block in blocks[:-1]:
        rows = sparse_rows(matrix, block)
        beyond = -len(matrix) % block * int(rows.counts[-1])  # the last block may reach beyond the outputs
        stored = rows.values.size - beyond
        if kept and stored - kept <= waste * stored:
            return block
    return 1


def _narrow(numbers: np.ndarray) -> np.ndarray:
    largest = int(numbers.max()) if numbers.size else 0
    return np.ascontiguousarray(numbers, np.int16 if largest <= MOST_INT16 else np.int32)


@dataclass
class PlanWriter:
    """Collects nodes and arrays, in order. The inputs are values 0, 1, ...; each node makes the next value.

    Args:
        inputs: inputs of the net.
    """

    inputs: Sequence[Input]
    arrays: list[np.ndarray] = field(default_factory=list)
    _nodes: list[str] = field(default_factory=list)
    _outputs: list[str] = field(default_factory=list)

    def add(self, kind: str, inputs: Sequence[int], **words: Any) -> int:
        """Append a node; returns the number of the value it makes."""
        self._nodes.append(_line(kind, {"from": ",".join(map(str, inputs)), **words}))
        return len(self.inputs) + len(self._nodes) - 1

    def convolution(
        self,
        value: int,
        weight: np.ndarray,
        bias: np.ndarray,
        window: Window,
        *,
        block: int = 0,
        act: str = "none",
        linear: bool = False,
        step: int = 0,
    ) -> int:
        """A convolution of one group.

        Args:
            value: What it reads.
            weight: [outputs, inputs, kernel rows, kernel columns].
            bias: [outputs].
            block: 0 for the dense kernel, else the outputs of one block of the sparse one.
            act: In the plan's language.
            linear: It will see vectors only.
            step: by how many channels it moves along its input; 0 if it does not.
        """
        matrix = np.asarray(weight, np.float32).reshape(len(weight), -1)
        words = {"in": weight.shape[1], "out": len(weight), **window.words, "act": act}
        if linear:
            words["linear"] = 1
        if step:
            words["step"] = step
        return self._weighted("conv", [value], matrix, bias, block, words)

    def recurrent(
        self, inputs: Sequence[int], weight: np.ndarray, bias: np.ndarray, *, block: int = 0, **words: Any
    ) -> int:
        """One direction of a recurrent layer.

        Args:
            inputs: values that it reads: what its input adds to the gates, first states, how many steps count.
            weight: [gates * hidden, hidden], the recurrent one.
            bias: [gates * hidden].
            block: as of a convolution.
            words: further words of its line.
        """
        matrix = np.asarray(weight, np.float32)
        sizes = {"in": matrix.shape[1], "out": len(matrix), **Window().words, "linear": 1}
        return self._weighted("recurrent", inputs, matrix, bias, block, {**sizes, **words})

    def _weighted(
        self,
        kind: str,
        inputs: Sequence[int],
        matrix: np.ndarray,
        bias: np.ndarray,
        block: int,
        words: dict[str, Any],
    ) -> int:
        """A node with a matrix of weights, dense (block 0) or without its zeros."""
        if block == 0:
            return self.add(kind, inputs, **words, weights="dense", params=self.keep(matrix, bias))
        rows = sparse_rows(matrix, block)
        params = self.keep(rows.values, rows.columns, rows.counts, bias)
        return self.add(kind, inputs, **words, weights="sparse", block=block, params=params)

    def depthwise(self, value: int, weight: np.ndarray, bias: np.ndarray, window: Window, *, act: str = "none") -> int:
        """One filter for each channel: weight [channels, 1, k, k], k 3 or 5, stride 1 or 2."""
        return self.add("depthwise", [value], out=len(weight), **window.words, act=act, params=self.keep(weight, bias))

    def affine(self, value: int, scale: np.ndarray, shift: np.ndarray, *, act: str = "none") -> int:
        """x * scale + shift for each channel."""
        return self.add("affine", [value], out=len(scale), act=act, params=self.keep(scale, shift))

    def output(self, value: int, *, dims: Sequence[str] = (), dtype: str = "float32", rank: int = 4) -> None:
        """A value that the net returns.

        Args:
            value: number of the value.
            dims: its axes, each a product of numbers, "n", "c", "h" and "w": ("n", "h*w", "4"), say; one may be "-1",
                what is left. Without numbers they may be in any order: ("n", "w", "c").
            dtype: "float32", "int32", "int64" or "bool".
            rank: what `dims` are if they are not given: 4 for [n, c, h, w], 2 for [n, c].
        """
        dims = dims or IMAGE[:rank]
        self._outputs.append(_line("output", {"from": value, "dims": ",".join(dims), "dtype": dtype}))

    @property
    def text(self) -> str:
        """The whole plan; its digest is that of the lines and arrays as they are now."""
        head = [FIRST_LINE, "contents digest=0", *self._lines_of_inputs]
        return signed("\n".join([*head, *self._nodes, *self._outputs]), self.arrays)

    @property
    def _lines_of_inputs(self) -> list[str]:
        return [_line("input", {"name": quote(each.name, safe=""), **each.words}) for each in self.inputs]

    def keep(self, *arrays: np.ndarray) -> str:
        """Append arrays; returns the word `params` of the line that reads them. Integers stay what they are."""
        first = len(self.arrays)
        self.arrays += [a if a.dtype.kind == "i" else np.ascontiguousarray(a, np.float32) for a in arrays]
        return ",".join(str(first + i) for i in range(len(arrays)))


def one_image(channels: int, rank: int = 4) -> PlanWriter:
    """A plan of one such input."""
    return PlanWriter([image(channels, rank)])


def _line(kind: str, words: dict[str, Any]) -> str:
    return " ".join([kind, *[f"{key}={value}" for key, value in words.items()]])
