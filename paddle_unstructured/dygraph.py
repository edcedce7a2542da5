# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's dygraph pruners: the pruners of this package, with the arguments in PaddleSlim's order.

from paddleslim.dygraph... -> from paddle_unstructured.dygraph import UnstructuredPruner, GMPUnstructuredPruner
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Sequence

from . import pruner
from .compat import paddleslim

__all__ = ["GMPUnstructuredPruner", "UnstructuredPruner"]
Skip = Callable[[Any], Iterable[Any]]


class UnstructuredPruner(pruner.UnstructuredPruner):
    """`paddle_unstructured.UnstructuredPruner` of an nn.Layer in PaddleSlim's words.

    Args:
        model: An nn.Layer. Other pruners may work on it.
        mode: "ratio" or "threshold".
        threshold: For mode "threshold": weights with |w| below it are pruned.
        ratio: For mode "ratio": fraction of the weights to prune, in [0, 1].
        prune_params_type: None: all weights; "conv1x1_only": 1x1 convolutions only.
        skip_params_func: model -> names of params or tensors, or `full_name()` of layers, to leave dense, beside norms
            and biases.
        local_sparsity: Prune `ratio` of every layer by itself.
        sparse_block: [m, n]: blocks of m x n along the first two stored axes fall as a whole.
        optimizer, input_spec: As for `paddle_unstructured.UnstructuredPruner`.

    Raises:
        ValueError, TypeError: As there.

    Example:
        >>> pruner = UnstructuredPruner(model, "ratio", ratio=0.55)  # doctest: +SKIP
        >>> optimizer.step(); pruner.step()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        mode: str,
        threshold: float = paddleslim.THRESHOLD,
        ratio: float = paddleslim.RATIO,
        prune_params_type: str | None = None,
        skip_params_func: Skip | None = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] | None = None,
        *,
        optimizer: Any = None,
        input_spec: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            model,
            mode,
            ratio,
            threshold,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
            optimizer=optimizer,
            input_spec=input_spec,
        )


class GMPUnstructuredPruner(pruner.GMPUnstructuredPruner):
    """`paddle_unstructured.GMPUnstructuredPruner` of an nn.Layer in PaddleSlim's words.

    Args:
        model: As for `UnstructuredPruner`, and so are the other arguments.
        ratio: The sparsity at the end, in [0, 1].
        configs: As for `paddle_unstructured.GMPUnstructuredPruner`.
    """

    def __init__(
        self,
        model: Any,
        ratio: float = paddleslim.RATIO,
        prune_params_type: str | None = None,
        skip_params_func: Skip | None = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] | None = None,
        configs: Mapping[str, Any] | None = None,
        *,
        optimizer: Any = None,
        input_spec: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            model,
            ratio,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
            configs=configs,
            optimizer=optimizer,
            input_spec=input_spec,
        )
