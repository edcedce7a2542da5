# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's dygraph pruners: the pruners of this package, with the arguments in PaddleSlim's order; and a callback.

from paddleslim.dygraph... -> from paddle_unstructured.dygraph import UnstructuredPruner, GMPUnstructuredPruner
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor

from . import gmp_pruner, pruner
from .arguments import StrPath, has_method, part
from .arguments import path as checked_path
from .compat import paddleslim
from .graph import LayerGraph

__all__ = ["GMPUnstructuredPruner", "PruningCallback", "UnstructuredPruner"]
Skip = Callable[[Any], Iterable[Any]]


class Masks(dict[str, Tensor]):
    """Masks by name of param; `get` and `[]` also take what Paddle calls the tensor, as PaddleSlim does."""

    def __init__(self, graph: LayerGraph, names: Iterable[str]) -> None:
        with graph.tensors([f"{name}_mask" for name in names]) as tensors:
            super().__init__((name, tensors[f"{name}_mask"]) for name in names)
        self._names = {graph.tensor(name).name: name for name in names}

    def __missing__(self, tensor_name: str) -> Tensor:
        return self[self._names[tensor_name]]

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._names.get(name, name), default)


class _Slim(pruner.UnstructuredPruner):
    """What PaddleSlim's pruners have besides."""

    _graph: LayerGraph

    @property
    def model(self) -> paddle.nn.Layer:
        """The Layer that is pruned."""
        return self._graph.program

    @property
    def masks(self) -> Masks:
        """The masks themselves; what is written into them holds from the next `update_params()` on."""
        return Masks(self._graph, [param.name for param in self._params])

    def summarize_weights(self, program: Any = None, ratio: float = 0.1) -> float:
        """As in `paddle_unstructured.UnstructuredPruner`; at ratio 1 the largest |w|, as in PaddleSlim."""
        found = super().summarize_weights(program, ratio)
        return float(np.nextafter(np.float32(found), np.float32(0))) if ratio == 1 else found

    def _should_prune_layer(self, layer: paddle.nn.Layer) -> bool:
        names = {param.name for param in self._params}
        own = layer.parameters(include_sublayers=False)
        return any(name in names for tensor in own for name in self._graph.names_of(tensor))


class UnstructuredPruner(_Slim):
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


class GMPUnstructuredPruner(_Slim, gmp_pruner.GMPUnstructuredPruner):
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

    @property
    def ratios_stack(self) -> list[float]:
        """The ratios that are still to come, the next one last; empty when the last one is reached."""
        coming = range(self.steps, getattr(self._plan.schedule, "end_step", 0) + 1)
        return list(dict.fromkeys(self._plan.asked(step) for step in reversed(coming)))


class PruningCallback(paddle.callbacks.Callback):
    """Prune while `paddle.Model.fit` trains: one `pruner.step()` behind each step of its optimizer.

    Args:
        pruner: A pruner of the network. The optimizer that `prepare` was given is watched by it.
        log: A `ScalarLog` of the pruner, which is asked for a record after each step.
        save_dir: A folder that gets `0.pruner`, `1.pruner`, ... after each epoch and `final.pruner` at the end, beside
            what `fit(save_dir=...)` saves.

    Raises:
        TypeError: None of these.

    Example:
        >>> model.fit(data, callbacks=[PruningCallback(pruner)])  # doctest: +SKIP
    """

    def __init__(self, pruner: Any, *, log: Any = None, save_dir: StrPath | None = None) -> None:
        super().__init__()
        part("pruner", pruner, ["step", "watch"], rule="a pruner of an nn.Layer")
        if log is not None and not has_method(log, "log"):
            raise TypeError(f"`log` must be a ScalarLog or None, got {type(log).__name__}.")
        self._pruner, self._log = pruner, log
        self._folder = None if save_dir is None else checked_path("save_dir", save_dir)
        self._pending = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Watch the optimizer."""
        self._pruner.watch(self.model._optimizer)

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Count a step, unless the batch only added to the gradients of the next ones."""
        accumulate = getattr(self.model, "_accumulate", 1)
        self._pending = (step + 1) % accumulate != 0
        if not self._pending:
            self._step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count the step of an epoch's last batches, which may be fewer; save."""
        if self._pending:
            self._pending = False
            self._step()
        self._save(str(epoch))

    def on_train_end(self, logs: Any = None) -> None:
        """Save."""
        self._save("final")

    def _step(self) -> None:
        self._pruner.step()
        if self._log is not None:
            self._log.log()

    def _save(self, name: str) -> None:
        if self._folder is not None and paddle.distributed.get_rank() == 0:
            os.makedirs(self._folder, exist_ok=True)
            self._pruner.save(os.path.join(self._folder, f"{name}.pruner"))
