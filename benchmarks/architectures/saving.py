# SPDX-License-Identifier: Apache-2.0
"""A net of the list with random weights, pruned, its batch norms settled, as an inference model on disk.

Exports are what `paddle.jit.save` writes, as those of Paddle's own model collections: sizes stay open, and are read in
the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import Architecture

SETTLED = 12  # forward passes of a batch norm until its running mean and variance are those of its input


def save(
    one: Architecture,
    prefix: str,
    *,
    small: bool = False,
    sparsity: float = 0.0,
    block: int = 1,
    seed: int = 0,
    **arguments: Any,
) -> None:
    """Build the net, prune and settle it, and write `prefix`.json and `prefix`.pdiparams.

    Args:
        one: the net.
        prefix: prefix of the two files.
        small: whether the net is built small.
        sparsity: fraction of zeros, in [0, 1), in convolutions and linear layers; not the first, nor depthwise ones.
        block: neighbouring inputs that fall together, at one kernel position.
        seed: seed of all random numbers.
        **arguments: further arguments of the net.
    """
    import paddle

    static = not paddle.in_dynamic_mode()
    paddle.disable_static()
    try:
        paddle.seed(seed)
        random = np.random.default_rng(seed)
        net = one.build(**(dict(one.small) if small else {}), **arguments)
        if sparsity:
            _prune(net, sparsity, block)
        _settle(net, one, random, small)
        net.eval()
        specs = []
        for each in one.inputs:
            size = each.small if small else each.full
            shape = [-1, *(extent if fixed == 0 else fixed for fixed, extent in zip(each.shape[1:], size))]
            specs.append(paddle.static.InputSpec(shape, each.dtype))
        paddle.jit.save(net, prefix, input_spec=specs)
    finally:
        if static:
            paddle.enable_static()


def _settle(net: Any, one: Architecture, random: np.random.Generator, small: bool) -> None:
    """Random scales and shifts, then running means and variances that fit them: outputs stay in a sensible range."""
    import paddle
    from paddle.nn import layer

    norms = [each for each in net.sublayers() if isinstance(each, layer.norm._BatchNormBase)]
    if not norms:
        return
    kept = [norm._momentum for norm in norms]
    for norm in norms:
        norm._momentum = 0.5
        norm.weight.set_value(random.uniform(0.6, 1.4, norm.weight.shape).astype("float32"))
        norm.bias.set_value(random.normal(0.0, 0.2, norm.bias.shape).astype("float32"))
    net.train()
    with paddle.no_grad():
        for _ in range(SETTLED):
            net(*map(paddle.to_tensor, one.samples(random, 8 if small else 4, small=small)))
    for norm, momentum in zip(norms, kept):
        norm._momentum = momentum


def _prune(net: Any, sparsity: float, block: int) -> None:
    from paddle.nn import Conv1D, Conv2D, Conv2DTranspose, Conv3D, Linear

    first = True
    for each in net.sublayers():
        if isinstance(each, (Conv1D, Conv2D, Conv2DTranspose, Conv3D)):
            weight = each.weight.numpy()
            if not first and weight.shape[1] > 4 and not isinstance(each, Conv2DTranspose):
                each.weight.set_value(zeroed(weight, sparsity, block, axis=1))
            first = False
        elif isinstance(each, Linear):
            each.weight.set_value(zeroed(each.weight.numpy(), sparsity, block, axis=0))
        elif type(each).__name__ == "LSTM":
            for name, weight in each.named_parameters():
                if "weight" in name:
                    weight.set_value(zeroed(weight.numpy(), sparsity, block, axis=1))


def zeroed(weight: np.ndarray, sparsity: float, block: int, *, axis: int) -> np.ndarray:
    """The blocks with the smallest absolute sums made zero.

    Args:
        weight: weight of any shape.
        sparsity: fraction of blocks.
        block: entries of a block, along `axis`; a weight whose extent it does not divide stays as it is.
        axis: axis of the inputs.
    """
    moved = np.moveaxis(weight, axis, -1)
    if moved.shape[-1] % block:
        return weight
    blocks = moved.reshape(*moved.shape[:-1], -1, block)
    scores = abs(blocks).sum(-1)
    dropped = np.argsort(scores, axis=None, kind="stable")[: round(sparsity * scores.size)]
    kept = np.ones(scores.size, weight.dtype)
    kept[dropped] = 0
    found = (blocks * kept.reshape(scores.shape)[..., None]).reshape(moved.shape)
    return np.ascontiguousarray(np.moveaxis(found, -1, axis))
