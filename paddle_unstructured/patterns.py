"""What lives and dies together: the scores of weights -> the scores of units, and units' masks back to weights."""
from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import paddle
from paddle import Tensor

from .graph.base import Param
from .rank import Size

_NORMS = {
    "l2": lambda scores, axes: paddle.sqrt(paddle.sum(scores * scores, axis=axes)),
    "l1": lambda scores, axes: paddle.sum(paddle.abs(scores), axis=axes),
    "max": lambda scores, axes: paddle.max(paddle.abs(scores), axis=axes),
}


class Pattern(Protocol):
    """Any object with these four methods is a pattern."""

    def check(self, param: Param) -> None:
        """Raise ValueError where the pattern makes no sense for the param."""

    def units(self, scores: Tensor, param: Param) -> Tensor:
        """Scores of weights -> scores of units."""

    def size(self, param: Param) -> Size:
        """Weights per unit."""

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        """Mask of weights -> mask of units."""

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        """Mask of units -> mask of weights."""


@dataclass(frozen=True)
class Element:
    """Every weight by itself: unstructured sparsity."""

    def check(self, param: Param) -> None:
        """Any param will do."""

    def units(self, scores: Tensor, param: Param) -> Tensor:
        return scores

    def size(self, param: Param) -> Size:
        return 1

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        return mask

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        return keep


@dataclass(frozen=True)
class Block:
    """All or nothing in blocks of m x n: m neighbours along the first axis by n along the second.

    A block's score is the norm of the scores of its weights: sqrt(sum s^2) for "l2". Blocks start at index 0; the last
    one of an axis that m or n does not divide is a short block.

    Args:
        m: Extent along the first of `axes`, >= 1.
        n: Extent along the second of `axes`, >= 1.
        axes: "output_input" for the layer's output and input axes, wherever they are stored; "stored" for the first
            two stored axes, as PaddleSlim's `sparse_block=[m, n]` means it. For a conv weight [out, in, kh, kw] both
            are the same; for a linear weight [in, out] "stored" blocks are m neighbouring inputs.
        norm: "l2", "l1" or "max".
        kernel: "whole": a block spans the whole kernel window; "position": every kernel position has blocks of its own.

    Raises:
        ValueError: A value outside the above.

    Example:
        >>> from paddle_unstructured.graph import Param
        >>> conv = Param("w", (2, 1, 1, 1), "float32", "conv2d", "pd_op.conv2d", 0, 1)
        >>> Block(2, 1).units(paddle.to_tensor([3.0, 4.0]).reshape([2, 1, 1, 1]), conv).tolist()
        [[[[5.0]]]]
    """

    m: int
    n: int
    axes: str = "output_input"
    norm: str = "l2"
    kernel: str = "whole"

    def __post_init__(self) -> None:
        for name in ("m", "n"):
            extent = getattr(self, name)
            if isinstance(extent, bool) or not isinstance(extent, int) or extent < 1:
                raise ValueError(f"Block `{name}` must be an int >= 1, got {extent!r}.")
        for name, allowed in (("axes", ("output_input", "stored")), ("norm", tuple(_NORMS)),
                              ("kernel", ("whole", "position"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"Block `{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")

    def check(self, param: Param) -> None:
        if None in self._axes(param):
            raise ValueError(f"Block needs an output and an input axis, and param {param.name!r} ({param.role}, shape "
                             f"{list(param.shape)}) has not both; leave it out with `select`.")

    def units(self, scores: Tensor, param: Param) -> Tensor:
        return _NORMS[self.norm](self._split(scores, param), self._inner(param))

    def size(self, param: Param) -> Size:
        extents = self._extents(param)
        if all(whole % extent == 0 for whole, extent in zip(param.shape, extents)):
            return prod(extents)
        ones = paddle.ones(list(param.shape), "float32")
        return paddle.sum(self._split(ones, param), axis=self._inner(param)).flatten().cast("int64")

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        return paddle.max(self._split(mask, param), axis=self._inner(param))

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        extents = self._extents(param)
        for axis, (whole, extent) in enumerate(zip(param.shape, extents)):
            if extent > 1:
                keep = paddle.repeat_interleave(keep, extent, axis=axis)
        return keep[tuple(slice(0, whole) for whole in param.shape)]

    def _axes(self, param: Param) -> tuple[int | None, int | None]:
        if self.axes == "output_input":
            return param.output_axis, param.input_axis
        return 0, 1 if len(param.shape) > 1 else None

    def _extents(self, param: Param) -> list[int]:
        """Extent of a full block along every stored axis."""
        first, second = self._axes(param)
        rest = param.shape if self.kernel == "whole" else (1,) * len(param.shape)
        return [self.m if i == first else self.n if i == second else rest[i] for i in range(len(param.shape))]

    def _split(self, tensor: Tensor, param: Param) -> Tensor:
        """[a, b, ...] -> [a/m, m, b/n, n, ...], the last short blocks filled up with zeros."""
        shape = []
        for axis, (whole, extent) in enumerate(zip(param.shape, self._extents(param))):
            short = -whole % extent
            if short:
                filling = list(tensor.shape)
                filling[axis] = short
                tensor = paddle.concat([tensor, paddle.zeros(filling, tensor.dtype)], axis=axis)
            shape += [(whole + short) // extent, extent]
        return tensor.reshape(shape)

    def _inner(self, param: Param) -> list[int]:
        return list(range(1, 2 * len(param.shape), 2))
