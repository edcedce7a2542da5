# SPDX-License-Identifier: Apache-2.0
"""A net as the runtime sees it: layers with numpy weights, norms folded, activations fused; without Paddle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from .border import IMAGE, Input
from .plan import Window
from .refusals import Refusal

FOLDING = ("conv", "linear", "affine")  # kinds that take up a scale and a shift per channel
FUSING = (*FOLDING, "add", "subtract", "multiply", "divide", "maximum", "minimum")  # kinds that take up an activation


def _nothing() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation and what it reads. Two layers are the same only if they are one object.

    Attributes:
        kind: "input", "conv", "linear", "affine", "add", "multiply", "activation", "pool", "global_pool", "concat",
            "flatten" or "softmax".
        inputs: layers that it reads.
        name: name of its weight, for people.
        weight: a convolution's [outputs, inputs/groups, kernel rows, kernel columns]; a linear layer's
            [outputs, inputs, 1, 1]; an affine layer's scale [channels]; [0] elsewhere.
        bias: [outputs]; [0] without weights.
        window: window of a convolution or pooling.
        groups: groups of a convolution.
        act: activation, in the plan's language.
        words: further words of its line in the plan.
    """

    kind: str
    inputs: tuple[Layer, ...] = ()
    name: str = ""
    weight: np.ndarray = field(default_factory=_nothing)
    bias: np.ndarray = field(default_factory=_nothing)
    window: Window = Window()
    groups: int = 1
    act: str = "none"
    words: dict[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.window.fits:
            raise Refusal(f"a window of {self.window.kernel} with this stride, padding or dilation is too large")

    def folded(self, scale: np.ndarray, shift: np.ndarray) -> Layer:
        """This layer, then * scale + shift for each channel; in float64 until the very end."""
        scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
        weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=weight, bias=self.bias * scale + shift)

    def activated(self, act: str) -> Layer:
        """This layer, then an activation."""
        return replace(self, act=act)


@dataclass(frozen=True)
class Output:
    """What a net returns.

    Attributes:
        layer: the layer that makes it.
        dims: axes of the tensor, as `PlanWriter.output` takes them.
        dtype: dtype of the tensor.
    """

    layer: Layer
    dims: tuple[str, ...] = IMAGE
    dtype: str = "float32"


@dataclass
class Net:
    """What a Program computes.

    Attributes:
        inputs: layers of kind "input", in the order in which it takes them.
        outputs: what it returns, in order.
    """

    inputs: list[Layer]
    outputs: list[Output]


def layers_of(net: Net) -> list[Layer]:
    """All layers that the outputs need, but not the inputs of the net; inputs before readers."""
    order: list[Layer] = []
    seen = set(net.inputs)
    stack = [(output.layer, False) for output in reversed(net.outputs)]
    while stack:  # without recursion, as nets are deep
        layer, inputs_done = stack.pop()
        if inputs_done:
            order.append(layer)
        elif layer not in seen:
            seen.add(layer)
            stack.append((layer, True))
            stack.extend((source, False) for source in reversed(layer.inputs))
    return order


def count_readers(net: Net) -> Counter[Layer]:
    """Layer -> how often it is read, outputs of the net included."""
    readers = Counter(source for layer in layers_of(net) for source in layer.inputs)
    readers.update(output.layer for output in net.outputs)
    return readers


def input_layer(how: Input) -> Layer:
    """The layer of an input."""
    return Layer("input", name=how.name, words=dict(how.words))


def input_of(layer: Layer) -> Input:
    """What `input_layer` made the layer of."""
    dims = tuple(int(extent) for extent in str(layer.words["dims"]).split(","))
    return Input(layer.name, str(layer.words["dtype"]), tuple(str(layer.words["axes"]).split(",")), dims)


def ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """[outputs, inputs/groups, ...] of a grouped convolution as [outputs, inputs, ...] of one group, zeros between."""
    outputs, inputs = len(weight) // groups, weight.shape[1]
    whole = np.zeros((len(weight), inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return whole


def step_of(layer: Layer) -> int:
    """By how many channels a convolution moves along its input, frame by frame say; 0 if it does not."""
    return int(layer.words.get("step", 0)) if layer.kind == "conv" else 0


def affine(layer: Layer, scale: np.ndarray, shift: np.ndarray, *, alone: bool) -> Layer:
    """`layer` * scale + shift for each channel: folded in if it can be, and `alone` says that nobody else reads it."""
    if alone and layer.kind in FOLDING and layer.act == "none":
        if not step_of(layer):
            return layer.folded(scale, shift)
        each = [np.reshape(numbers, (-1, len(layer.bias))) for numbers in (scale, shift)]
        if all((numbers == numbers[0]).all() for numbers in each):  # the same for every position
            return layer.folded(each[0][0], each[1][0])
    return Layer("affine", (layer,), weight=np.asarray(scale, np.float64), bias=np.asarray(shift, np.float64))


def activate(layer: Layer, act: str, *, alone: bool) -> Layer:
    """An activation of `layer`: fused if it can be."""
    if alone and layer.kind in FUSING and layer.act == "none":
        return layer.activated(act)
    return Layer("activation", (layer,), act=act)
