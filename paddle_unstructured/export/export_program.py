# SPDX-License-Identifier: Apache-2.0
"""From a Program in training to a model to be given away: masks applied and gone, and all of it checked."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Collection, Iterable, Iterator, Mapping, Sequence, Union, overload

import numpy as np
import paddle

from ..arguments import StrPath, flag, instance, shown, whole, wrong_kind
from ..channels.shrink import Removal, remove_channels
from ..formats import pair
from ..formats.scratch import scratch
from ..graph import LayerGraph, Param, PirGraph, open_graph
from ..graph.program import walk
from ..graph.values import channel_axis, kind_of
from ..inference import warn_of_onednn
from ..pruner import UnstructuredPruner
from ..reporting.report import SparsityReport, check_finite, check_initialized, sparsity_report
from ..saved_model import (
    KINDS,
    Model,
    drafts,
    drop_unread,
    in_inference_mode,
    listed,
    open_model,
    prefix_of,
    save_model,
)
from .checks import pattern_fault, unit_size
from .layer_model import Renamed, layer_masks, layer_model, static_mode, tensor_names
from .recalibration import recalibrate as measure_norms

_log = logging.getLogger(__name__)
Beside = Union[str, Callable[[str, Collection[str]], str]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The prefix of the .json and .pdiparams files.
        report: The zeros in them.
        removal: What was removed physically, if that was asked for.
        absent: Params with a mask that the model does not have, such as those of a head that is cut off, with their
            numbers of weights.
    """

    path: str
    report: SparsityReport
    removal: Removal | None = None
    absent: Mapping[str, int] = field(default_factory=dict)

    @property
    def sparsity(self) -> str:
        """The sparsity of the file in words, and of how many weights that is said."""
        zeros, weights = self.report.counts["selected"]
        said = f"sparsity {self.report.totals['selected']:.4f}: {zeros} of {weights} selected weights"
        said += f", {self.report.share:.1%} of the weights of layers here" if 0 < self.report.share < 1 else ""
        return said + (f"; {_absent(self.absent)}" if self.absent else "")

    def __str__(self) -> str:
        parts = [str(self.report)] + ([self.sparsity] if self.absent else [])
        parts += [str(self.removal)] if self.removal else []
        return "\n\n".join(parts + [f"written: {self.path}.json, {self.path}.pdiparams"])


@overload
def export(
    program: paddle.nn.Layer,
    feed: Sequence[Any],
    path: StrPath,
    pruner: UnstructuredPruner | None = None,
    *,
    unfinished: bool = False,
    recalibrate: Iterable[Mapping[str, np.ndarray]] | None = None,
    shrink: bool = False,
    align_channels: int = 1,
    beside: Mapping[str, Beside] | None = None,
) -> Exported: ...
@overload
def export(
    program: Any,
    feed: Sequence[Any] | Any,
    fetch: Sequence[Any] | Any,
    path: StrPath,
    pruner: UnstructuredPruner | None = None,
    exe: Any = None,
    *,
    scope: Any = None,
    unfinished: bool = False,
    recalibrate: Iterable[Mapping[str, np.ndarray]] | None = None,
    shrink: bool = False,
    align_channels: int = 1,
    beside: Mapping[str, Beside] | None = None,
) -> Exported: ...
def export(  # type: ignore[misc]  # a Layer's path stands where a Program's outputs do
    program: Any,
    feed: Sequence[Any] | Any,
    fetch: Any = None,
    path: Any = None,
    pruner: Any = None,
    exe: Any = None,
    *,
    scope: Any = None,
    unfinished: bool = False,
    recalibrate: Iterable[Mapping[str, np.ndarray]] | None = None,
    shrink: bool = False,
    align_channels: int = 1,
    beside: Mapping[str, Beside] | None = None,
) -> Exported:
    """Write the inference model of a Program: weights masked, masks, accumulators and shadows gone, all of it checked.

    The Program and its scope are left as they are, so training can go on. Of an nn.Layer:
    `export(model, input_spec, path, pruner)`, without `fetch`, `exe` and `scope`; it is written in evaluation mode.

    Args:
        program: A PIR Program, training (before or after `minimize`) or test; norms and dropout are set to inference,
            and what masks channels or samples at random (`Dropout2D`, drop path) is taken out. Or an nn.Layer.
        feed, fetch: Its inputs (or their names) and outputs, values of the Program. Of a Layer: an InputSpec for each
            input, and no outputs.
        path: Prefix of the files `path`.json and `path`.pdiparams, which `paddle.static.load_inference_model` and
            `paddle.inference` read.
        pruner: Whose masks are applied and whose target and patterns must be reached. Default: masks that the Program
            has are applied, and nothing is asked of them.
        exe: An executor, whose place is used. Default: the pruner's place, or Paddle's current one.
        scope: Where the weights are. Default: the pruner's, else the global scope.
        unfinished: Write the model although the target is not reached or a pattern is not complete.
        recalibrate: Batches (input name -> array) to measure the batch norms' statistics on anew.
        shrink: Remove channels that whole zero filters make constant; see `remove_channels`.
        align_channels: With `shrink`: channel counts stay multiples of this.
        beside: texts that are written with the model in one step, by the ending of their file; or functions that make
            them of the `.pdiparams`' SHA-256, in hex digits, and the names of the params in it, for what belongs to
            these weights alone.

    Returns:
        What was written. Prints as a table.

    Raises:
        ValueError: The target is not reached or a pattern is broken, with the layers; weights have no value; inputs
            or outputs that are not the Program's, inputs that are missing or not needed; outputs that depend on random
            numbers. Nothing is written.
        TypeError: `pruner` is none.

    Example:
        >>> export(main_program, [image], [logits], "model", pruner, exe)  # doctest: +SKIP
        >>> export(model, [InputSpec([None, 3, 224, 224])], "model", pruner)  # doctest: +SKIP
    """
    if isinstance(program, paddle.nn.Layer):
        if fetch is not None:  # that is where the path stands without it
            path, pruner = fetch, path if path is not None else pruner
        if exe is not None or scope is not None:
            raise TypeError("`exe` and `scope` belong to a static Program, got one with an nn.Layer; leave it out.")
        how: Any = {"shrink": shrink, "align_channels": align_channels, "recalibrate": recalibrate, "beside": beside}
        return _export_layer(program, feed, path, pruner, unfinished=unfinished, **how)
    _check_pruner(pruner)
    path = prefix_of(path)
    if exe is not None:
        instance("exe", exe, paddle.static.Executor, rule="a paddle.static.Executor or None")
    unfinished, shrink = flag("unfinished", unfinished), flag("shrink", shrink)
    whole("align_channels", align_channels, least=1)
    if scope is None:
        scope = paddle.static.global_scope() if pruner is None else pruner.scope
    place = exe.place if exe is not None else None if pruner is None else pruner.place
    graph = open_graph(program, scope, place)
    check_initialized(graph, [param for param in graph.params() if param.reader])
    feed, fetch = inputs_in(program, feed), outputs_in(program, fetch)
    masks = _masks(graph) if pruner is None else _masks(open_graph(program, pruner.scope, place), pruner.params)
    if pruner is not None and not unfinished:
        check_pruned(masks, pruner)
    if pruner is not None:
        pruner.tell_share()
    model = _stripped(graph, feed, fetch)
    how = {"shrink": shrink, "align_channels": align_channels, "recalibrate": recalibrate, "beside": beside}
    written = finish(model, path, masks, pruner, **how)
    warn_of_onednn(model.program, path)
    return written


def _export_layer(
    model: paddle.nn.Layer, input_spec: Sequence[Any], path: StrPath, pruner: Any, *, unfinished: bool, **how: Any
) -> Exported:
    _check_pruner(pruner)
    path, graph = prefix_of(path), LayerGraph(model)
    known = {param.name: param for param in graph.params()}
    names, masks = tensor_names(graph, known), layer_masks(graph, known, pruner)
    if pruner is not None and not unfinished:
        check_pruned(masks, pruner)
    if pruner is not None:
        pruner.tell_share()
    if not isinstance(input_spec, (list, tuple)) or not input_spec:
        raise wrong_kind("input_spec", "a list of paddle.static.InputSpec, one for each input", input_spec)
    own = {names[name]: mask for name, mask in masks.items()}
    with static_mode():
        saved = layer_model(model, input_spec)
        written = finish(saved, path, own, pruner and Renamed(pruner, names), **how)
        warn_of_onednn(saved.program, path)
    return written


def finish(
    model: Model,
    path: StrPath,
    masks: Mapping[str, np.ndarray],
    pruner: UnstructuredPruner | Renamed | None = None,
    *,
    recalibrate: Iterable[Mapping[str, np.ndarray]] | None = None,
    shrink: bool = False,
    align_channels: int = 1,
    beside: Mapping[str, Beside] | None = None,
) -> Exported:
    """Apply masks (param name -> bool array) to an inference model and write it; the rest is as for `export`."""
    graph, known = model.graph, model.param_names
    _check_channels(model.program)
    strangers = [name for name, mask in masks.items() if name in known and mask.shape != graph.stored(name).shape]
    if strangers:
        raise ValueError(
            f"the masks do not fit the model: {', '.join(strangers)} have other shapes; give the pruner of this model."
        )
    absent = {name: mask.size for name, mask in masks.items() if name not in known}
    if absent:
        _log.warning("%s: %s", path, _absent(absent))
    model = in_inference_mode(model)
    _mask(model, masks)
    check_finite(model.graph, [param for param in model.graph.params() if param.is_weight])
    if recalibrate is not None:
        measure_norms(model, recalibrate)
    removal = None
    if shrink:
        removal = remove_channels(model.program, model.scope, model.place, align_channels=align_channels)
    return replace(_write(model, path, removal, pruner, beside or {}), absent=absent)


def check_pruned(masks: Mapping[str, np.ndarray], pruner: UnstructuredPruner) -> None:
    """Raise ValueError unless the pruner's target is reached and the pattern of every layer complete."""
    faults, zeros = [], {name: float((~mask).mean()) for name, mask in masks.items()}
    sparsity = sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.size for mask in masks.values())
    slack = sum(unit_size(layer.pattern, layer.param) for layer in pruner.layers)  # what rounding costs each layer
    lacking = (pruner.target - sparsity) * sum(mask.size for mask in masks.values())
    if not pruner.target_reached() or lacking >= slack:  # of the masks as they are: others may have been loaded
        least = min(zeros, key=lambda name: zeros[name])
        asked = f"not yet {pruner.target:g}" if pruner.target else "no update was made yet"
        faults.append(f"the sparsity is {sparsity:.4f} and {asked} (least in {least}: {zeros[least]:.4f})")
    for layer in pruner.layers:
        fault = pattern_fault(masks[layer.param.name], layer.pattern, layer.param)
        if fault:
            faults.append(f"{layer.param.name} is not {layer.pattern!r}: {fault}")
    if faults:
        raise ValueError(
            f"the model is not finished: {'; '.join(faults)}; call step() after each batch until "
            "target_reached(), or export with unfinished=True."
        )


def _check_channels(program: Any) -> None:
    """Raise ValueError where a convolution gets channels that it has no weights for; Paddle saves such."""
    faults = [*_unfit_channels(program)]  # text: an error that is kept must keep no op of a Program that is gone
    if faults:
        raise ValueError(
            f"the model must be given inputs that it can run on, but {faults[0]}; give inputs of the shape that the "
            "model was made for."
        )


def _unfit_channels(program: Any) -> Iterator[str]:
    for op in walk(program.global_block()):
        if kind_of(op) in ("conv2d", "depthwise_conv2d", "conv3d"):
            given, weight = op.operand_source(0), op.operand_source(1)
            found, wanted = given.shape[channel_axis(op, given)], weight.shape[1] * op.attrs()["groups"]
            if found not in (-1, wanted):
                name = weight.name if weight.get_defining_op().name() == "builtin.parameter" else "a convolution"
                yield f"{name} reads {wanted} channels and gets {found}"


def _absent(absent: Mapping[str, int]) -> str:
    names, weights = ", ".join(absent), sum(absent.values())
    return f"{len(absent)} pruned params with {weights} weights are not in the exported model: {names}"


def _check_pruner(pruner: object) -> None:
    if pruner is not None:
        hint = "the executor is `exe`, the argument behind it"
        instance("pruner", pruner, UnstructuredPruner, rule="a pruner or None", hint=hint)


def _stripped(graph: PirGraph, feed: list[Any], fetch: list[Any]) -> Model:
    """The inference part of a Program, with a copy of its weights in a scope of its own."""
    with scratch() as folder:
        draft = os.path.join(folder, "model")
        with paddle.static.scope_guard(graph.scope), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no variable in your model")  # said below
            try:
                paddle.static.save_inference_model(
                    draft, feed, fetch, paddle.static.Executor(graph.place), program=graph.program
                )
            except ValueError as error:
                if "not involved in the target_vars" not in str(error):
                    raise
                raise ValueError("`feed` must hold inputs that `fetch` depends on, and no others.") from error
        model = open_model(draft, graph.place) if os.path.exists(draft + KINDS["inference"][1]) else None
    if model is not None:
        drop_unread(model.program)
        _check_variables(model.program)
    if model is None or not model.param_names:
        raise ValueError("`fetch` must be what the params compute, but depends on none of them.")
    lacking = set(model.feeds) - {value.get_defining_op().attrs()["name"] for value in feed}
    if lacking:
        raise ValueError(f"`feed` must hold every input that `fetch` needs, and lacks {', '.join(sorted(lacking))}.")
    return model


def _check_variables(program: Any) -> None:
    """Raise ValueError where outputs depend on variables that are no params: Paddle's Predictor cannot open that."""
    ops = program.global_block().ops
    others = [op.attrs()["name"] for op in ops if op.name() == "pd_op.data" and op.result(0).persistable]
    if others:
        raise ValueError(
            "`fetch` must depend on inputs and params alone, and does on variables that no inference model holds, "
            f"{listed(others)}; of a Program that `quantize_aware` has rewritten, call `export` of what it returned "
            "(of one that was read from a file: build it anew, call `quantize_aware`, and load its variables)."
        )


def _masks(graph: PirGraph, params: Sequence[Param] | None = None) -> dict[str, np.ndarray]:
    """The masks of the params; default: of those whose masks the Program declares."""
    if params is None:
        weights = [param for param in graph.params() if param.is_weight]
        declared = set(graph.declared_masks(weights))
        params = [param for param in weights if param.mask_name in declared]
    missing = [param.mask_name for param in params if not graph.is_initialized(param.mask_name)]
    if missing:
        raise ValueError(
            f"the Program has masks that have no value in the scope, {missing[0]} for one; give the "
            "`scope` of the pruner, or the Program as it was before there were masks."
        )
    return {param.name: graph.mask(param) for param in params}


def _mask(model: Model, masks: Mapping[str, np.ndarray]) -> None:
    """Apply masks to the model's weights; those of params that it does not have were for training only."""
    names, graph = model.param_names, model.graph
    for name, mask in masks.items():
        if name in names:
            stored = graph.stored(name)
            graph.store(name, np.where(mask, stored, stored.dtype.type(0)))


def _write(model: Model, path: StrPath, removal: Removal | None, pruner: Any, beside: Mapping[str, Beside]) -> Exported:
    """Save the model; look at what was saved before it gets its name."""
    with drafts(path) as draft:
        save_model(model, draft)
        for ending, text in beside.items():
            params = draft + KINDS["inference"][1]
            said = text(pair.sha256(params), model.param_names) if callable(text) else text
            Path(draft + ending).write_text(said, encoding="utf-8")
        saved = open_model(draft, model.place)
        if saved.feeds != model.feeds or saved.param_names != model.param_names:
            raise RuntimeError(f"{path} was not written: Paddle saved other inputs or params than the model's.")
        there, here = saved.graph, model.graph
        differing = [name for name in saved.param_names if there.stored(name).tobytes() != here.stored(name).tobytes()]
        if differing:
            raise RuntimeError(f"{path} was not written: Paddle saved other values of {', '.join(differing)}.")
        return Exported(prefix_of(path), sparsity_report(saved.program, saved.scope, pruner), removal)


def inputs_in(program: Any, feed: Any) -> list[Any]:
    """Inputs of a Program, or their names, as its values; ValueError if one is none of them."""
    named = {
        op.attrs()["name"]: op.result(0)
        for op in program.global_block().ops
        if op.name() == "pd_op.data" and not op.result(0).persistable
    }
    values = [named.get(value, value) if isinstance(value, str) else value for value in _list(feed)]
    for value in values:
        if not any(_is_same(value, known) for known in named.values()):
            raise ValueError(
                f"`feed` must name or be inputs of the Program ({', '.join(named)}), got {_called(value, program)}."
            )
    return values


def outputs_in(program: Any, fetch: Any) -> list[Any]:
    """Outputs of a Program; ValueError if one is no value of it."""
    made = {op.id() for op in program.global_block().ops}
    for value in _list(fetch):
        if not isinstance(value, paddle.pir.Value) or value.get_defining_op().id() not in made:
            raise ValueError(
                f"`fetch` must be values of the Program, outside of branches and loops, got {_called(value, program)}."
            )
    if not _list(fetch):
        raise ValueError("`fetch` must be at least one value of the Program, got none.")
    return _list(fetch)


def _is_same(value: Any, known: Any) -> bool:
    return isinstance(value, paddle.pir.Value) and value.is_same(known)


def _called(value: Any, program: Any) -> str:
    if not isinstance(value, paddle.pir.Value):
        return shown(value)
    name = f"the value {value.name!r}" if value.has_name else f"a result of {value.get_defining_op().name()}"
    foreign = value.get_defining_op().get_parent_block().program != program
    return f"{name} of another Program; give this one's" if foreign else f"{name}, which is none of them"


def _list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
