# SPDX-License-Identifier: Apache-2.0
"""What lives and dies together: the scores of weights -> the scores of units, and units' masks back to weights.

All methods are written with paddle ops, and run eagerly on the tensors of the scope.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from typing import Any, ClassVar, Protocol, runtime_checkable

from paddle import Tensor

from .arguments import fraction, one_of, sentence, whole, wrong_kind
from .graph.base import Param, Role
from .ranking import boxes
from .ranking.bundles import in_bundles
from .ranking.cut import Size
from .ranking.groups import protect_highest

_BF16_TILE = (16, 2)  # outputs and inputs that a tile of bfloat16 needs together
_ON_TILES = {"kernel": "position", "narrow": "skip"}
_WORDS = 'kept:of such as "2:4", or outputs x inputs such as "2x1" or "1x4"'
_LARGEST = 32  # group of which some weights are kept


class Pattern(Protocol):
    """Any object with these methods is a pattern."""

    def check(self, param: Param) -> str | None:
        """Why the pattern leaves the param alone, or None if it does not; ValueError where it makes no sense."""

    def limit(self, param: Param) -> int:
        """How many of the param's weights may fall at most."""

    def units(self, scores: Tensor, param: Param, mask: Tensor | None = None) -> Tensor:
        """Scores of weights -> scores of units. `mask`: 0 where a weight was pruned before."""

    def size(self, param: Param) -> Size:
        """Weights per unit."""

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        """Mask of weights -> mask of units."""

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        """Mask of units -> mask of weights."""


@runtime_checkable
class Complete(Protocol):
    """A pattern that is complete at one sparsity, which is pruned to where neither ratio nor schedule is given."""

    @property
    def sparsity(self) -> float:
        """The sparsity of the complete pattern, in [0, 1]."""


@runtime_checkable
class Boxed(Pattern, Protocol):
    """A pattern whose units are boxes of weights: `check` and `export` look whether each is zero as a whole."""

    def extents(self, param: Param) -> list[int]:
        """The width of a box along each stored axis."""


@runtime_checkable
class Insistent(Protocol):
    """A pattern that may ask for an error where the user names a param that it does not fit."""

    @property
    def insists(self) -> bool:
        """Whether it does."""


def own_sparsity(pattern: Pattern) -> float | None:
    """The sparsity that the pattern means by itself; None if it is open; ValueError if it is none."""
    sparsity = pattern.sparsity if isinstance(pattern, Complete) else None
    return None if sparsity is None else fraction("pattern.sparsity", sparsity)


def extents_of(pattern: Boxed, param: Param) -> list[int]:
    """The width of a box along each stored axis; TypeError or ValueError if the pattern gives something else."""
    rule = f"a function that gives {len(param.shape)} ints >= 1 for {param.name}"
    found: Any = pattern.extents(param)
    if not isinstance(found, (list, tuple)) or len(found) != len(param.shape):
        raise wrong_kind("pattern.extents", rule, found)
    return [whole("pattern.extents", extent, least=1, rule=rule) for extent in found]


@dataclass(frozen=True)
class Element:
    """Every weight by itself: unstructured sparsity."""

    def check(self, param: Param) -> str | None:
        return None

    def limit(self, param: Param) -> int:
        return param.size

    def units(self, scores: Tensor, param: Param, mask: Tensor | None = None) -> Tensor:
        return scores

    def size(self, param: Param) -> Size:
        return 1

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        return mask

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        return keep


@dataclass(frozen=True)
class NM(Element):
    """n of every m consecutive weights along the input axis are kept: "2:4" is NM(2, 4).

    In each group the m - n lowest scored weights compete with those of all other groups, the n highest never fall, so
    a schedule goes gradually from dense to n:m; at the sparsity (m - n) / m the pattern is complete. Equal scores in a
    group fall in stored order.

    The input axis is the one that the weight's product sums over. Embeddings, which nothing multiplies, have none; of
    an embedding that is the output layer too, the axis of that product counts.

    Args:
        n: Weights kept per group, 1 <= n < m.
        m: Group length, 2 to 32.
        indivisible: Where there is no such axis, or m does not divide it (a first convolution of three channels, a
            depthwise one): "skip" to leave that layer dense, or "error".

    Raises:
        ValueError: A value outside the above; with "error", a layer as described there.

    Example:
        >>> import paddle
        >>> from paddle_unstructured.graph import Param
        >>> linear = Param("w", (4, 1), "float32", "linear", "pd_op.matmul", 1, 0)
        >>> NM(2, 4).units(paddle.to_tensor([[1.0], [4.0], [2.0], [3.0]]), linear).flatten().tolist()
        [1.0, inf, 2.0, inf]

    Source: Mishra et al. 2021, arXiv:2104.08378 (2:4).
    """

    n: int
    m: int
    indivisible: str = "skip"

    def __post_init__(self) -> None:
        whole("m", self.m, least=2, most=_LARGEST)
        whole("n", self.n, least=1, most=self.m - 1, rule=f"weights kept of each group of {self.m}, 1 <= n < m")
        one_of("indivisible", self.indivisible, ("error", "skip"), rule='"error" or "skip"')

    @classmethod
    def parse(cls, text: str) -> NM:
        """ "2:4" -> NM(2, 4)."""
        match = re.fullmatch(r"(\d+):(\d+)", text)
        if not match:
            raise ValueError(sentence("pattern", _WORDS, text, _meant(text)))
        kept, of = int(match[1]), int(match[2])
        if not 1 <= kept < of <= _LARGEST:
            way = f'write "{of}:{kept}" to keep {of} of {kept}' if 1 <= of < kept <= _LARGEST else ""
            raise ValueError(sentence("pattern", f"kept:of, 1 <= kept < of <= {_LARGEST}", text, way))
        return cls(kept, of)

    @property
    def sparsity(self) -> float:
        """The sparsity of the complete pattern, (m - n) / m."""
        return (self.m - self.n) / self.m

    def check(self, param: Param) -> str | None:
        _, fault = grouped_axis(param, self.m)
        if not fault or self.indivisible == "skip":
            return fault or None
        raise ValueError(
            f"{self.n}:{self.m} needs groups of {self.m} along the input axis, and param {param.name!r} "
            f"({param.role}, shape {list(param.shape)}) has {fault}; leave it out with `select`, or give "
            f'NM({self.n}, {self.m}, indivisible="skip").'
        )

    def limit(self, param: Param) -> int:
        return param.size // self.m * (self.m - self.n)

    def units(self, scores: Tensor, param: Param, mask: Tensor | None = None) -> Tensor:
        axis, _ = grouped_axis(param, self.m)
        return protect_highest(scores, axis, self.n, self.m, mask)


def grouped_axis(param: Param, m: int) -> tuple[int, str]:
    """The stored axis along which groups of m compete, and "", or why there is none.

    All products that the weight enters must sum over that axis, in runs that m divides.
    """
    readings = [reading for reading in param.readings or (param,) if reading.role != "embedding"]
    axes = {reading.input_axis for reading in readings}
    if not readings:
        return -1, "rows that are looked up, and nothing that multiplies them"
    axis = next(iter(axes))
    if axis is None or None in axes:
        return -1, "no input axis"
    if len(axes) > 1:
        ops = " and ".join(sorted(f"{r.reader} over axis {r.input_axis}" for r in readings))
        return -1, f"products that sum over different axes: {ops}"
    runs = [reading.run for reading in readings if isinstance(reading, Role)]
    run = gcd(param.shape[axis], *runs)
    if run % m:
        along = f"{run} weights along its input axis"
        found = along if run == param.shape[axis] else f"runs of {run} weights that one product sums over"
        return -1, f"{found}, which groups of {m} do not divide"
    return axis, ""


class Boxes:
    """Units that are boxes of weights, `extents(param)` wide along each stored axis."""

    @property
    def _norm(self) -> str:
        return "l2"

    def extents(self, param: Param) -> list[int]:
        raise NotImplementedError

    def limit(self, param: Param) -> int:
        return param.size

    def units(self, scores: Tensor, param: Param, mask: Tensor | None = None) -> Tensor:
        return boxes.norms(self._norm, scores, self.extents(param))

    def size(self, param: Param) -> Size:
        return boxes.sizes(param.shape, self.extents(param))

    def alive(self, mask: Tensor, param: Param) -> Tensor:
        return boxes.highest(mask, self.extents(param))

    def spread(self, keep: Tensor, param: Param) -> Tensor:
        return boxes.spread(keep, param.shape, self.extents(param))


@dataclass(frozen=True)
class Block(Boxes):
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
        narrow: Layers with fewer than m or n weights along these axes, such as depthwise convolutions and the first
            one of an image: "short" to prune them in short blocks, "skip" to leave them dense.

    Layers without such axes (a vector, an embedding, stacked weights) stay dense, unless `select` names them: that is
    an error with "short". For the sparse int8 kernels there is `Int8Block`.

    Raises:
        ValueError: A value outside the above.

    Example:
        >>> import paddle
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
    narrow: str = "short"

    def __post_init__(self) -> None:
        whole("m", self.m, least=1)
        whole("n", self.n, least=1)
        one_of("axes", self.axes, ("output_input", "stored"))
        one_of("norm", self.norm, boxes.NORMS)
        one_of("kernel", self.kernel, ("whole", "position"))
        one_of("narrow", self.narrow, ("short", "skip"))

    @property
    def _norm(self) -> str:
        return self.norm

    @property
    def insists(self) -> bool:
        """Whether a layer that the user names, and that has no such axes, is an error."""
        return self.narrow == "short"

    def check(self, param: Param) -> str | None:
        first, second = self._axes(param)
        if first is None or second is None:
            return f"Block needs an output and an input axis, and {param.name!r} has not both"
        found = param.shape[first], param.shape[second]
        if self.narrow == "skip" and (found[0] < self.m or found[1] < self.n):
            return f"{found[0]} x {found[1]} weights are less than a block of {self.m} x {self.n}"
        return None

    def _axes(self, param: Param) -> tuple[int | None, int | None]:
        if self.axes == "output_input":
            return param.output_axis, param.input_axis
        return 0, 1 if len(param.shape) > 1 else None

    def extents(self, param: Param) -> list[int]:
        """Extent of a full block along every stored axis."""
        first, second = self._axes(param)
        rest = param.shape if self.kernel == "whole" else (1,) * len(param.shape)
        return [self.m if i == first else self.n if i == second else rest[i] for i in range(len(param.shape))]


@dataclass(frozen=True)
class Int8Block(Boxes):
    """4 neighbouring inputs at one kernel position of one output: what a sparse int8 kernel leaves out. In words "1x4".

    With `outputs` = 2 or 4 ("2x4", "4x4") that many neighbouring outputs share their blocks, and so the kernel's loads:
    faster at the same sparsity, and a little less accurate. 16 or 32 ("16x4") is what the tiles of AMX can leave out;
    other processors run it as 4x4. A block's score is the L2 norm of the scores of its weights. Layers with fewer
    than 4 inputs or `outputs` outputs, such as depthwise convolutions and the first one of an image, stay
    dense; an input axis that 4 does not divide ends in a short block, which the kernels fill up with zeros.

    Args:
        outputs: neighbouring outputs of a block, >= 1.
        balanced: with 16, each row of blocks keeps a multiple of 16 of them, but for one row of a layer, where the cut
            falls: tiles take as long for 16 blocks as for one. Blocks of a row compete in bundles of so many that
            follow each other by score; rows of fewer than two bundles compete block by block. 1: all do.

    Raises:
        ValueError: A value outside the above.

    Example:
        >>> from paddle_unstructured.graph import Param
        >>> conv = Param("w", (8, 16, 3, 3), "float32", "conv2d", "pd_op.conv2d", 0, 1)
        >>> Int8Block(outputs=2).extents(conv)
        [2, 4, 1, 1]
    """

    outputs: int = 1
    balanced: int = 1

    inputs: ClassVar[int] = 4

    def __post_init__(self) -> None:
        whole("outputs", self.outputs, least=1)
        whole("balanced", self.balanced, least=1)

    def units(self, scores: Tensor, param: Param, mask: Tensor | None = None) -> Tensor:
        units = super().units(scores, param, mask)
        assert param.output_axis is not None  # as `check` found
        return units if self.balanced == 1 else in_bundles(units, param.output_axis, self.balanced)

    def check(self, param: Param) -> str | None:
        return self._block.check(param)

    def extents(self, param: Param) -> list[int]:
        return self._block.extents(param)

    @property
    def _block(self) -> Block:
        return Block(self.outputs, self.inputs, kernel="position", narrow="skip")


@dataclass(frozen=True)
class Filter(Boxes):
    """Whole filters: all weights of one output channel, or of one input channel.

    A filter's score is the norm of the scores of its weights; with `magnitude` that is the L1 or L2 norm of the filter.
    Layers without such an axis, and the input channels of a grouped convolution, which share one, stay dense; where
    `select` names them, that is an error.

    Args:
        axis: "output" or "input".
        norm: "l2", "l1" or "max".

    Raises:
        ValueError: A value outside the above.

    Source: Li et al. 2017, arXiv:1608.08710 (L1).
    """

    axis: str = "output"
    norm: str = "l2"

    insists: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("axis", self.axis, ("output", "input"))
        one_of("norm", self.norm, boxes.NORMS)

    @property
    def _norm(self) -> str:
        return self.norm

    def check(self, param: Param) -> str | None:
        # In a grouped convolution one stored axis does not tell the channels of the groups apart.
        shared = param.groups > 1 and (self.axis == "input") != param.role.endswith("transpose")
        if self._axis(param) is None or shared:
            return f"Filter needs an {self.axis} axis of its own, and {param.name!r} of {param.groups} groups has none"
        return None

    def _axis(self, param: Param) -> int | None:
        return param.output_axis if self.axis == "output" else param.input_axis

    def extents(self, param: Param) -> list[int]:
        return [1 if i == self._axis(param) else extent for i, extent in enumerate(param.shape)]


def parse_pattern(pattern: str) -> Pattern:
    """A pattern in words: "2:4" is NM(2, 4), "2x1" (outputs x inputs) Block(2, 1), "1x4" and "2x4" Int8Block(1), (2).

    "16x2" is what the tiles of AMX leave out of a model in bfloat16: Block(16, 2, kernel="position", narrow="skip").

    Raises:
        ValueError: None of these.
    """
    if not isinstance(pattern, str):
        raise wrong_kind("pattern", _WORDS, pattern)
    blocks = re.fullmatch(r"(\d+)x(\d+)", pattern)
    if not blocks:
        return NM.parse(pattern)
    outputs, inputs = int(blocks[1]), int(blocks[2])
    if not outputs or not inputs:
        raise ValueError(sentence("pattern", "outputs x inputs, both >= 1", pattern))
    if inputs == Int8Block.inputs:
        return Int8Block(outputs)
    return Block(outputs, inputs, **(_ON_TILES if (outputs, inputs) == _BF16_TILE else {}))


def _meant(text: str) -> str:
    """What to write instead of a word that is no pattern."""
    found = re.fullmatch(r"(\d+)\s*([x*×:/]|by|of)\s*(\d+)", text.strip().lower())
    if not found:
        return "leave it out for single weights; whole filters are Filter() in Python"
    return f'write "{found[1]}{":" if found[2] in (":", "/", "of") else "x"}{found[3]}"'
