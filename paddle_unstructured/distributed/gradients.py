# SPDX-License-Identifier: Apache-2.0
"""Training on many ranks: what the optimizer is given is the mean of all ranks' gradients."""

from __future__ import annotations

from typing import Any

import paddle

from ..arguments import has_method, instance
from .collectives import average
from .ranks import check_joined


def minimize(optimizer: Any, loss: Any, no_grad_set: set[Any] | None = None) -> tuple[Any, list[tuple[Any, Any]]]:
    """Append backward, the average of the gradients over the ranks, and the optimizer's update: g = sum_r g_r / world.

    Instead of `optimizer.minimize(loss)`, within the same `program_guard`. Clipping and weight decay act on the
    averaged gradient. With equal batches of b on R ranks, and a loss that is a mean, training is that of one rank
    with batches of R b, up to rounding and to what a net computes over the images of a batch (BatchNorm). With one
    rank it is `optimizer.minimize(loss)`.

    Args:
        optimizer: optimizer of `paddle.optimizer`, with all its arguments.
        loss: A scalar of the Program.
        no_grad_set: Values, or their names, that get no gradient.

    Returns:
        The optimizer's ops, and pairs of param and averaged gradient; as `optimizer.minimize` returns them.

    Raises:
        ValueError: Dynamic mode; a launcher has started several ranks and `init` was not called.
        TypeError: No optimizer, or a loss that is no value of a Program.

    Example:
        >>> init()  # doctest: +SKIP
        >>> with paddle.static.program_guard(main, startup):  # doctest: +SKIP
        ...     loss = build_model()
        ...     minimize(paddle.optimizer.Momentum(0.1), loss)

    Source: data parallelism with averaged gradients, Goyal et al. 2017, arXiv:1706.02677.
    """
    if no_grad_set is not None:
        instance("no_grad_set", no_grad_set, (set, list, tuple), rule="a set of values or names")
    _check(optimizer, loss)
    pairs = sorted(optimizer.backward(loss, no_grad_set=no_grad_set), key=lambda pair: pair[0].name)
    means = average([gradient for _, gradient in pairs])
    pairs = [(param, mean) for (param, _), mean in zip(pairs, means)]
    return optimizer.apply_gradients(pairs), pairs


def _check(optimizer: Any, loss: Any) -> None:
    if not (has_method(optimizer, "backward") and has_method(optimizer, "apply_gradients")):
        raise TypeError(f"`optimizer` must be one of paddle.optimizer, got {type(optimizer).__name__}.")
    if paddle.in_dynamic_mode():
        raise ValueError(
            "Paddle is in dynamic mode, and a static Program is to be trained; call paddle.enable_static() first."
        )
    if not isinstance(loss, paddle.pir.Value):
        raise TypeError(f"`loss` must be a value of a static Program, got {type(loss).__name__}.")
    check_joined()
