# SPDX-License-Identifier: Apache-2.0
"""What a weight is worth: weight -> score of the same shape, larger = keep.

The simplest criterion is a function of one tensor, written with paddle ops: it runs on the device inside a Program of
ours, and eagerly on a literal tensor in a test. It is given float32 or float64, and must give no NaN. One that needs
more than the weight is a small class with a method `score`; see `Criterion`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Callable, ClassVar, Protocol, Union, runtime_checkable

import paddle
from paddle import Tensor

from .arguments import flag, name_of, one_of, part, whole, wrong_kind
from .graph.base import Param


@runtime_checkable
class Scorer(Protocol):
    """A criterion that is an object: it may look at more than the weight."""

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        """The scores, weight's shape; `information` is what the criterion's `source` says, None without one."""


@runtime_checkable
class Informed(Scorer, Protocol):
    """A criterion that says what it wants to be given.

    Attributes:
        source: what `score` is given beside the weight. None: nothing. "norm scale": the scale of the BatchNorm that
            follows the layer. "gradient", "output" or "input": what `observe` gathered over at least `batches` batches.
    """

    @property
    def source(self) -> str | None: ...


@runtime_checkable
class Watching(Informed, Protocol):
    """A criterion whose source is "gradient", "output" or "input": what it adds up, batch by batch, as the net runs.

    Attributes:
        batches: batches that it wants to see before weights are scored, >= 1.
    """

    @property
    def batches(self) -> int: ...

    def observed_shape(self, param: Param) -> tuple[int, ...]:
        """The shape of what is added up for a param."""

    def observe(self, weight: Tensor, seen: Tensor, channel_axis: int, /) -> Tensor:
        """What one batch adds; `seen` is the gradient, or the output or input with its channels on `channel_axis`."""


Criterion = Union[Callable[[Tensor], Tensor], Scorer]
_WATCHED = ("gradient", "output", "input")


def magnitude(weight: Tensor) -> Tensor:
    """Score a weight by its absolute value: s = |w|. With the pattern `Filter(norm="l1")`, the L1 norm of filters.

    Example:
        >>> magnitude(paddle.to_tensor([-2.0, 0.5])).tolist()
        [2.0, 0.5]

    Source: Han et al. 2015, arXiv:1506.02626.
    """
    return paddle.abs(weight)


def normalized_magnitude(weight: Tensor) -> Tensor:
    """Score a weight by its absolute value beside its layer's: s = |w| / sqrt(mean(w^2)).

    Layers with small weights then compete on equal terms in one race. A layer that is zero altogether scores 0.
    """
    return paddle.abs(weight) / paddle.sqrt(paddle.mean(weight * weight)).clip(min=1e-30)


@dataclass(frozen=True)
class Random:
    """Score weights at random, the same at every update and on every rank: the baseline to beat.

    Args:
        seed: >= 1.
    """

    seed: int = 1
    source: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        whole("seed", self.seed, least=1)

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        own_seed = zlib.crc32(f"{self.seed} {param.name}".encode()) % (2**31 - 1) + 1
        return paddle.uniform(list(param.shape), dtype=weight.dtype, min=0.0, max=1.0, seed=own_seed)


@dataclass(frozen=True)
class GeometricMedian:
    """Score a filter by its distance to all others: s_i = sum_j ||f_i - f_j||_2; one near the middle is replaceable.

    Every weight has the score of its filter, so the pattern to use is `Filter()`.

    Source: He et al. 2019, arXiv:1811.00250 (FPGM).
    """

    source: ClassVar[str | None] = None

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        axis = _output_axis(param)
        others = [i for i in range(len(param.shape)) if i != axis]
        filters = paddle.transpose(weight, [axis, *others]).reshape([param.shape[axis], -1])
        squares = paddle.sum(filters * filters, axis=1)
        products = paddle.matmul(filters, filters, transpose_y=True)
        distances = paddle.sqrt((squares.unsqueeze(0) + squares.unsqueeze(1) - 2.0 * products).clip(min=0.0))
        apart = 1.0 - paddle.eye(param.shape[axis], dtype=weight.dtype)  # rounding leaves a filter near itself only
        return spread_over(paddle.sum(distances * apart, axis=1), param)


@dataclass(frozen=True)
class NormScale:
    """Score a filter by the scale of the BatchNorm behind it: s = |gamma|, trained with an L1 penalty before.

    Source: Liu et al. 2017, arXiv:1708.06519 (network slimming).
    """

    source: ClassVar[str | None] = "norm scale"

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        return spread_over(paddle.abs(information).cast(weight.dtype), param)


@dataclass(frozen=True)
class Saliency:
    """Score a weight by what the loss would lose with it, to first order: s = sum over batches of |w * g|.

    g is the gradient that the optimizer is given. Pruning waits until `batches` batches were seen.

    Args:
        batches: >= 1.
        signed: False: |w g| is summed (SNIP). True: w g is summed over the batches before its absolute value is
            taken, s = |sum w g| (the first-order Taylor expansion of the mean loss).

    Source: Lee et al. 2019, arXiv:1810.02340 (SNIP); Molchanov et al. 2017, arXiv:1611.06440 (Taylor).
    """

    batches: int = 8
    signed: bool = False
    source: ClassVar[str | None] = "gradient"

    def __post_init__(self) -> None:
        whole("batches", self.batches, least=1)
        flag("signed", self.signed)

    def observed_shape(self, param: Param) -> tuple[int, ...]:
        return param.shape

    def observe(self, weight: Tensor, gradient: Tensor, channel_axis: int) -> Tensor:
        """What one batch adds."""
        return weight * gradient if self.signed else paddle.abs(weight * gradient)

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        return paddle.abs(information).cast(weight.dtype)


@dataclass(frozen=True)
class MeanActivation:
    """Score a filter by the mean absolute value of its output, behind bias, norm and activation.

    Args:
        batches: Batches to look at before pruning, >= 1.

    Source: Molchanov et al. 2017, arXiv:1611.06440.
    """

    batches: int = 8
    source: ClassVar[str | None] = "output"

    def __post_init__(self) -> None:
        whole("batches", self.batches, least=1)

    def observed_shape(self, param: Param) -> tuple[int, ...]:
        return (param.shape[_output_axis(param)],)

    def observe(self, weight: Tensor, output: Tensor, channel_axis: int) -> Tensor:
        """What one batch adds."""
        return paddle.mean(self._worth(output), axis=[i for i in range(len(output.shape)) if i != channel_axis])

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        assert information is not None  # gathered before anything is scored
        return spread_over(information.cast(weight.dtype), param)

    def _worth(self, output: Tensor) -> Tensor:
        return paddle.abs(output)


@dataclass(frozen=True)
class APoZ(MeanActivation):
    """Score a filter by how often its output is not zero: 1 - APoZ, the average percentage of zeros behind a ReLU.

    Source: Hu et al. 2016, arXiv:1607.03250.
    """

    def _worth(self, output: Tensor) -> Tensor:
        return (output != 0).cast(output.dtype)


@dataclass(frozen=True)
class InputNorm:
    """Score a weight by what it adds to its output on real inputs: s = |w| sqrt(mean x^2), x being the input it reads.

    The mean is over samples and positions, for each input channel by itself. It needs no gradients and no labels, so an
    inference Program does; run it on `batches` batches, with `step()` after each.

    Args:
        batches: Batches to look at before pruning, >= 1.

    Source: Sun et al. 2023, arXiv:2306.11695 (Wanda).
    """

    batches: int = 8
    source: ClassVar[str | None] = "input"

    def __post_init__(self) -> None:
        whole("batches", self.batches, least=1)

    def observed_shape(self, param: Param) -> tuple[int, ...]:
        return (param.inputs,)

    def observe(self, weight: Tensor, seen: Tensor, channel_axis: int) -> Tensor:
        """What one batch adds."""
        return paddle.mean(seen * seen, axis=[i for i in range(len(seen.shape)) if i != channel_axis])

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        assert information is not None and param.input_axis is not None  # gathered before anything is scored
        norm = paddle.sqrt(information / self.batches).cast(weight.dtype)
        shape = [1] * len(param.shape)
        if param.inputs != param.shape[param.input_axis]:  # each group of outputs reads inputs of its own
            assert param.output_axis is not None
            outputs = param.shape[param.output_axis] // param.groups
            norm = norm.reshape([param.groups, 1, -1]).expand([param.groups, outputs, -1])
            shape[param.output_axis] = param.shape[param.output_axis]
        shape[param.input_axis] = param.shape[param.input_axis]
        return paddle.abs(weight) * norm.reshape(shape)


def scores(criterion: Criterion, weight: Tensor, param: Param, information: Tensor | None = None) -> Tensor:
    """Ask a criterion of either kind.

    Raises:
        TypeError, ValueError: It gives something else than a score for each weight.
    """
    found = criterion.score(weight, param, information) if isinstance(criterion, Scorer) else criterion(weight)
    rule = f"a function that gives a tensor of one score for each weight, of shape {list(param.shape)} for {param.name}"
    if not isinstance(found, Tensor):
        raise wrong_kind("criterion", rule, found)
    if list(found.shape) != list(weight.shape):
        raise ValueError(f"`criterion` must be {rule}, got shape {list(found.shape)} from {name_of(criterion)}.")
    return found.cast(weight.dtype) if found.dtype == paddle.bool else found


def source_of(criterion: Criterion) -> str | None:
    """What a criterion is given beside the weight; ValueError if there is no such thing."""
    source = criterion.source if isinstance(criterion, Informed) else None
    return source if source is None else one_of("criterion.source", source, ("norm scale", *_WATCHED))


def as_watching(criterion: Criterion) -> Watching | None:
    """The criterion, if batches have to be watched before it scores; TypeError or ValueError if it does not say how."""
    if source_of(criterion) not in _WATCHED:
        return None
    if not isinstance(criterion, Watching):
        rule = f"an object with `batches`, `observed_shape` and `observe`, as its source is {source_of(criterion)!r}"
        raise wrong_kind("criterion", rule, criterion)
    whole("criterion.batches", criterion.batches, least=1)
    part("criterion", criterion, Watching, rule="a criterion such as Saliency()")
    return criterion


def spread_over(per_filter: Tensor, param: Param) -> Tensor:
    """Give every weight the score of its output filter: [out] -> param's shape."""
    axis = _output_axis(param)
    shape = [extent if i == axis else 1 for i, extent in enumerate(param.shape)]
    return per_filter.reshape(shape).expand(list(param.shape))


def _output_axis(param: Param) -> int:
    if param.output_axis is None:
        raise ValueError(
            f"the criterion scores output filters, and param {param.name!r} ({param.role}, shape "
            f"{list(param.shape)}) has no output axis; leave it out with `select`."
        )
    return param.output_axis
