# SPDX-License-Identifier: Apache-2.0
"""Which layers compute in int8, and which stay in float32 and why."""

from __future__ import annotations

from typing import AbstractSet, Container

from ..net import Layer, Net, input_of, layers_of, step_of
from ..precision.layers import is_clamp, is_matrix
from .activations import function_of
from .assign_scales import MOVING, keeps_scale

# Kinds that have a row for bytes in csrc/engine/kinds.cpp, whatever they are called there.
KINDS = (
    *("conv", "linear", "affine", "add", "subtract", "multiply", "activation", "concat", "flatten"),
    *("pool", "global_pool", "adaptive_pool", "reduce"),
)
_EXACT = ("embedding", "positions", "running_sum", "equal", "not_equal", "less", "less_equal")
_WHOLE = ("floor", "ceil", "round", "trunc")  # activations that make whole numbers


def float_layers(net: Net, skip: AbstractSet[str], left: AbstractSet[str] = frozenset()) -> dict[Layer, str]:
    """The layers that stay in float32.

    Args:
        net: As `lower` gives it.
        skip: Names of weights whose layers stay in float32 because the user says so.
        left: the same because training left them in float32, by the ranges that it learned.

    Returns:
        the layer -> why. All others run in int8.

    Raises:
        ValueError: A name in `skip` is no layer's.
    """
    layers = layers_of(net)
    unknown = sorted(skip - {layer.name for layer in layers})
    if unknown:
        raise ValueError(
            f"`skip` must name weights of the model, got {', '.join(unknown)}; it has "
            f"{', '.join(layer.name for layer in layers if layer.name)}."
        )
    floats = {layer: "as training left it" for layer in layers if layer.name and layer.name in left}
    floats.update((layer, "as `skip` says") for layer in layers if layer.name and layer.name in skip)
    floats.update((layer, "no int8 kernel") for layer in layers if not _in_bytes(layer))
    _add_exact(layers, floats)
    _add_whole(net, layers, floats)
    for layer in layers:
        if layer.kind == "affine" and _all_in(layer.inputs, {*net.inputs, *floats}):
            floats[layer] = "on the input, before it becomes int8"
    _add_last(net, layers, floats)
    _add_sums(layers, floats)
    _add_moves(net, layers, floats)
    return floats


def _add_moves(net: Net, layers: list[Layer], floats: dict[Layer, str]) -> None:
    """What only moves numbers from float32 to float32 is no reason to round them; a product can end in float32."""
    outputs, before = {output.layer for output in net.outputs}, set(floats)
    for layer in layers:
        if is_matrix(layer) or layer.kind == "constant":
            before.add(layer)
        elif keeps_scale(layer) and layer.kind != "pool" and layer.inputs and _all_in(layer.inputs, before):
            before.add(layer)
    for layer in reversed(layers):
        readers = [other for other in layers if layer in other.inputs]
        moves = layer in before and not is_matrix(layer)
        if moves and (readers or layer in outputs) and _all_in(readers, floats):
            floats.setdefault(layer, "between layers in float32")


def _add_exact(layers: list[Layer], floats: dict[Layer, str]) -> None:
    """What row numbers of a table, comparisons and lengths are computed from is exact, up to a layer with weights."""
    exact: set[Layer] = set()
    for layer in reversed(layers):
        if layer in exact and not layer.weight.size:
            floats.setdefault(layer, "whole numbers")
        if layer in exact and not layer.weight.size or layer.kind in _EXACT:
            exact.update(layer.inputs)
        if layer.kind == "recurrent" and layer.words["length"]:
            exact.add(layer.inputs[-1])


def _add_whole(net: Net, layers: list[Layer], floats: dict[Layer, str]) -> None:
    """Places of maxima, whole numbers and what is computed from them have no range that bytes could cover."""
    whole = {layer for layer in net.inputs if "int" in input_of(layer).dtype}
    for layer in layers:
        makes = layer.kind in ("arg", "place") or (layer.kind == "activation" and layer.act in _WHOLE)
        if makes or (not layer.weight.size and any(source in whole for source in layer.inputs)):
            whole.add(layer)
            floats.setdefault(layer, "whole numbers")


def _add_sums(layers: list[Layer], floats: dict[Layer, str]) -> None:
    """A sum that only layers in float32 read, a norm say, adds what the layers before it make in float32 anyway."""
    for layer in reversed(layers):
        readers = [other for other in layers if layer in other.inputs]
        asked = any(floats.get(each) == "as `skip` says" for each in readers)
        if layer.kind == "add" and readers and layer not in floats and _all_in(readers, floats) and not asked:
            floats[layer] = "read in float32 only"


def _add_last(net: Net, layers: list[Layer], floats: dict[Layer, str]) -> None:
    """A function of single numbers that only outputs and layers in float32 read is one of the exact numbers.

    A clamp costs no exactness behind a layer in int8, which gives it on; between layers in float32 it is such, too.
    """
    outputs = {output.layer for output in net.outputs}
    for layer in reversed(layers):
        readers = [other for other in layers if layer in other.inputs]
        last = layer in outputs or readers
        if function_of(layer) and last and _all_in(readers, floats) and layer not in floats:
            is_given_on = layer.kind == "activation" and is_clamp(layer.act) and layer not in outputs
            if not is_given_on or _all_in(layer.inputs, {*net.inputs, *floats}):
                floats[layer] = "behind the last layer in int8"


def without_range(net: Net, infinite: Container[Layer]) -> dict[Layer, str]:
    """What has infinities or NaN among its numbers, and whatever reads it -> why it stays in float32."""
    layers = layers_of(net)
    found = [each for each in layers if each in infinite or any(source in infinite for source in each.inputs)]
    return dict.fromkeys(found, "infinite numbers")


def _in_bytes(layer: Layer) -> bool:
    """Whether there is an int8 kernel."""
    if layer.kind == "activation" and function_of(layer) is None:
        return False  # an exponential, a logarithm, a root: eight bits of their input are not enough
    if layer.kind == "resize":
        return layer.words["mode"] in ("nearest", "linear")
    if step_of(layer):  # int8 lies in groups of four channels
        return all(count % 4 == 0 for count in (step_of(layer), *layer.weight.shape[:2]))
    if layer.kind == "pad":
        return all(str(layer.words[side]).startswith("0,") for side in ("before", "after"))
    if layer.kind == "reduce":
        return layer.words["type"] != "product"
    return layer.kind in KINDS or layer.kind in MOVING


def _all_in(layers: tuple[Layer, ...] | list[Layer], some: AbstractSet[Layer] | dict[Layer, str]) -> bool:
    return all(layer in some for layer in layers)
