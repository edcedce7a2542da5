# SPDX-License-Identifier: Apache-2.0
"""What is pruned without training: a saved model, a static Program or an nn.Layer, as one inference model to run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..arguments import path, wrong_kind
from ..distributed.collectives import mode
from ..export.layer_model import layer_model, tensor_names
from ..graph import LayerGraph, Param, PirGraph, open_graph
from ..graph.testing import test_program
from ..masking.update import PrunedLayer
from ..pruner import UnstructuredPruner
from ..saved_model import Files, Model, in_inference_mode, open_model
from .dense import kept
from .segments import forget_given
from .spill import collect, trim


@dataclass(frozen=True)
class Subject:
    """An inference model, and whose weights it has.

    Attributes:
        model: what is run; a Program's shares its scope, a Layer's has a copy of its weights.
        owner: what `UnstructuredPruner` prunes.
        names: of a Layer: name of each param -> its name in the model.
    """

    model: Model
    owner: Any
    names: Mapping[str, str]
    input_spec: Sequence[Any] | None = None

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Static mode, in which the model can be run; nothing that it was given stays in its scope."""
        with mode(paddle.enable_static) if isinstance(self.owner, paddle.nn.Layer) else contextlib.nullcontext():
            try:
                yield
            finally:
                forget_given(self.model.scope)
                collect()

    def pruner(self, **words: Any) -> UnstructuredPruner:
        """A pruner of the owner."""
        if isinstance(self.owner, paddle.nn.Layer):
            return UnstructuredPruner(self.owner, input_spec=self.input_spec, **words)
        return UnstructuredPruner(self.owner, scope=self.model.scope, place=self.model.place, **words)

    def take(self, pruner: UnstructuredPruner) -> list[PrunedLayer]:
        """Masks of the owner, and its weights under them, in the model; its pruned layers, as the model names them."""
        if not isinstance(self.owner, paddle.nn.Layer):
            return pruner.layers
        own, masks = LayerGraph(self.owner), {}
        for layer in pruner.layers:
            masks[self.names[layer.param.name]] = own.mask(layer.param)
        with self.computing():
            graph = self.model.graph
            params = {param.name: param for param in graph.params()}
            graph.declare_masks([params[name] for name in masks])
            for name, mask in masks.items():
                graph.set_mask(params[name], mask)
                stored = graph.stored(name)
                graph.store(name, np.where(mask, stored, np.zeros_like(stored)))
        return [replace(layer, param=params[self.names[layer.param.name]]) for layer in pruner.layers]

    def give_back(self, pruner: UnstructuredPruner) -> None:
        """The model's weights and masks to the owner."""
        if isinstance(self.owner, paddle.nn.Layer):
            with self.computing():
                graph = self.model.graph
                values = {name: graph.stored(its) for name, its in self.names.items() if its in self.model.param_names}
                masks = {param: graph.stored(self.names[param.name] + "_mask") != 0 for param in pruner.params}
            own = LayerGraph(self.owner)
            for name, array in values.items():
                self._store(name, array)
            for param, mask in masks.items():
                own.set_mask(param, mask)
        pruner.update_params()

    def name(self, its: str) -> str:
        """What the owner calls a param of the model."""
        return next((name for name, other in self.names.items() if other == its), its)

    def owners(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of the model's params, by the owner's names."""
        return {self.name(its): what for its, what in found.items()}

    @contextlib.contextmanager
    def whole_or_not_at_all(self) -> Iterator[tuple[Any, Callable[[], None]]]:
        """Put weights and masks of the owner back as they are now if what is done inside fails or is stopped.

        Yields:
            A scope with all variables of the model as they are now, and what puts them back, in the model too.
        """
        graph = self._graph()
        masks = {param.name: graph.mask(param) for param in graph.params() if _has_mask(graph, param)}
        with contextlib.ExitStack() as stack:
            with self.computing():
                dense = stack.enter_context(kept(self.model))
            back = partial(self._put_back, dense, masks)
            try:
                yield dense, back
            except BaseException:
                back()
                raise

    def _put_back(self, dense: Any, masks: Mapping[str, np.ndarray]) -> None:
        graph = self._graph()
        for param in graph.params():
            if _has_mask(graph, param):
                graph.set_mask(param, masks.get(param.name, np.ones(param.shape, bool)))
        for name, its in (self.names or {name: name for name in self.model.param_names}).items():
            if dense.find_var(its) is not None:
                self._store(name, np.array(dense.find_var(its).get_tensor()))
        if self.names:
            with self.computing():
                for its in set(self.names.values()) & self.model.param_names:
                    self.model.graph.store(its, np.array(dense.find_var(its).get_tensor()))
        trim()

    def _graph(self) -> LayerGraph | PirGraph:
        return LayerGraph(self.owner) if isinstance(self.owner, paddle.nn.Layer) else self.model.graph

    def _store(self, name: str, array: np.ndarray) -> None:
        if isinstance(self.owner, paddle.nn.Layer):
            self.owner.state_dict()[name].set_value(array)
        else:
            self.model.graph.store(name, array)


def _has_mask(graph: LayerGraph | PirGraph, param: Param) -> bool:
    return graph.has_mask(param) if isinstance(graph, LayerGraph) else graph.is_initialized(param.mask_name)


def subject(
    model: Any, *, fetch: Sequence[Any] | None, scope: Any, place: Any, input_spec: Sequence[Any] | None
) -> Subject:
    """What a user gives, ready to run.

    Raises:
        ValueError, TypeError: As `reconstruct` says.
    """
    if isinstance(model, paddle.nn.Layer):
        if not isinstance(input_spec, (list, tuple)) or not input_spec:
            raise wrong_kind("input_spec", "a list with a paddle.static.InputSpec for each input", input_spec)
        graph = LayerGraph(model)
        names = tensor_names(graph, {param.name: param for param in graph.params()})
        with mode(paddle.enable_static):
            return Subject(in_inference_mode(layer_model(model, input_spec)), model, names, input_spec)
    if isinstance(model, pir.Program):
        ops = model.global_block().ops
        values = list(fetch or (op.operand_source(0) for op in ops if op.name() == "pd_op.fetch"))
        if not values:
            raise ValueError(
                "`fetch` must say which values of the Program are to stay as they are, [logits] say; this one has no "
                "outputs of its own."
            )
        clone, values = test_program(model, values)
        graph_of = open_graph(clone, scope, place)
        inputs = [op for op in clone.global_block().ops if op.name() == "pd_op.data" and not op.result(0).persistable]
        feeds = tuple(str(op.attrs()["name"]) for op in inputs)
        files = Files("inference", "the Program")
        return Subject(Model(files, clone, graph_of.scope, graph_of.place, feeds, tuple(values)), model, {})
    if isinstance(model, Model):
        opened = in_inference_mode(model)
        return Subject(opened, opened.program, {})
    opened = in_inference_mode(open_model(path("model", model), place))
    return Subject(opened, opened.program, {})
