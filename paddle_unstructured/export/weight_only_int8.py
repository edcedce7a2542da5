# SPDX-License-Identifier: Apache-2.0
"""Weights stored as int8, with a scale for each output channel; zeros stay zeros, and any Predictor runs the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Mapping, Sequence

import numpy as np
import paddle

from ..arguments import instance, names
from ..compression.precision import restored, rounded
from ..graph import Param
from ..reporting.table import aligned
from ..saved_model import Model, in_inference_mode
from ..selection import check_named, why_none
from .inputs import check_inputs, random_inputs

SCALE = "_int8_scale"  # of a weight `w`: `w_int8_scale`


@dataclass(frozen=True)
class Int8Row:
    """One weight.

    Attributes:
        zeros: Exact zeros before.
        rounded: Further weights that round to zero: |w| <= scale / 2.
        error: |dequantized - w| / |w|, Euclidean norms; 0 for a weight of zeros.
        kept: Why the weight stays as it was; empty if it is int8 now.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    rounded: int
    error: float
    kept: str = ""


@dataclass(frozen=True)
class Int8Report:
    """What became of the weights.

    Attributes:
        rows: Every weight.
        bytes_before, bytes_after: sizes of all params, scales, biases and running statistics included.
        output_error: Relative RMS difference of the outputs, sqrt(sum (y' - y)^2 / sum y^2) over all of them.
        tried_on: "random inputs" or "given inputs".
    """

    rows: tuple[Int8Row, ...]
    bytes_before: int
    bytes_after: int
    output_error: float
    tried_on: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rows": [{**asdict(row), "shape": list(row.shape)} for row in self.rows]}

    def to_json(self, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        rows = [
            (
                row.name,
                row.role,
                "x".join(map(str, row.shape)),
                f"{row.weights}",
                f"{row.zeros}",
                f"{row.rounded}",
                f"{row.error:.5f}",
                f"no: {row.kept}" if row.kept else "yes",
            )
            for row in self.rows
        ]
        sums = (f"{sum(getattr(row, name) for row in self.rows)}" for name in ("weights", "zeros", "rounded"))
        header = ("name", "role", "shape", "weights", "zeros", "rounded to 0", "error", "int8")
        table = aligned(header, rows, [("total", "", "", *sums, "", "")], numbers=(3, 4, 5, 6))
        return (
            f"{table}\nparams {self.bytes_before} -> {self.bytes_after} bytes; outputs on {self.tried_on} differ "
            f"by {self.output_error:.5f} (relative RMS)"
        )


def quantize_weights(
    model: Model,
    *,
    skip: Sequence[str] = (),
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Model, Int8Report]:
    """Store the weights of an inference model as int8, symmetric, with a scale for each output channel.

        scale_c = max|w_c| / 127 (1 for a channel of zeros),  q = round(w / scale_c) in [-127, 127],  w' = q * scale_c

    Zeros stay zeros; a kept weight of at most scale_c / 2 becomes one, and the report counts them. The Program reads
    `q` (a param of the weight's name) and `w_int8_scale`, and computes cast(q) * scale before the op that used w:
    biases, norms and activations stay as they are, arithmetic stays float32, and files are about a quarter in size. The
    product is computed at every run: this saves disk and download, not time.

    Args:
        model: An inference model of `open_model`; it is not changed.
        skip: Names of weights that stay as they are.
        inputs: Arrays by name to measure the output error on. Default: `random_inputs`, which say little about
            accuracy: give some of the validation data.
        shapes: input name -> shape of random inputs, where the model leaves sizes open.

    Returns:
        The model with int8 weights, for `save_model`, in a scope of its own; and what became of each weight.

    Raises:
        ValueError: Not an inference model, a weight with NaN or infinity, a name in `skip` that is no weight's,
            nothing to quantize, or inputs that do not fit.

    Example:
        >>> small, report = quantize_weights(open_model("runs/gmp90/inference"))  # doctest: +SKIP
        >>> save_model(small, "runs/gmp90/int8")  # doctest: +SKIP
    """
    instance("model", model, Model, rule="what `open_model` gave")
    kept_names = names("skip", [skip] if isinstance(skip, str) else skip)
    if not model.fetches:
        raise ValueError(
            f"`model` must be an inference model, but {model.files.program} returns nothing (a training "
            "checkpoint?); export it first."
        )
    model = in_inference_mode(_cloned(model, model.scope))
    params = [param for param in model.graph.params() if param.is_weight]
    kept = _kept(model, params, set(kept_names))
    if inputs is not None:
        check_inputs(model, inputs)
    tried = dict(random_inputs(model, shapes=shapes) if inputs is None else inputs)
    quantized = _copy(model)
    rows = tuple(_row(param, model, quantized, kept[param.name]) for param in params)
    error = output_error(model.run(**tried), quantized.run(**tried))
    return quantized, Int8Report(
        rows, _bytes(model), _bytes(quantized), error, "random inputs" if inputs is None else "given inputs"
    )


def output_error(expected: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> float:
    """Relative RMS difference over all outputs; 0 where both are zero.

    Raises:
        ValueError: Outputs of other shapes: what cannot be compared.
    """
    if [np.shape(y) for y in expected] != [np.shape(y) for y in outputs]:
        raise ValueError(
            f"outputs must have equal shapes to be compared, got {[np.shape(y) for y in expected]} and "
            f"{[np.shape(y) for y in outputs]}; compare a model without data-dependent shapes."
        )
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(expected, outputs)]
    return _ratio(sum(((b - a) ** 2).sum() for a, b in pairs), sum((a**2).sum() for a, _ in pairs))


def _kept(model: Model, params: Sequence[Param], skip: set[str]) -> dict[str, str]:
    """Name of each weight -> why it stays, or ""; what cannot be quantized is refused before anything is made."""
    check_named("skip", skip, params, "model")
    kept = {param.name: "named in `skip`" if param.name in skip else _why_not(param) for param in params}
    if all(kept.values()):
        raise ValueError(f"{model.files.prefix} has no float32 weight to store as int8: {why_none(kept)}.")
    for name in (name for name, reason in kept.items() if not reason):
        bad = int((~np.isfinite(model.graph.array(name))).sum())
        if bad:
            raise ValueError(
                f"weights must be finite to be stored as int8, but {name} has {bad} that are NaN or "
                "infinite; look into the training that made them, or name it in `skip`."
            )
    return kept


def _why_not(param: Param) -> str:
    if param.dtype != "float32":
        return f"dtype {param.dtype}"
    return "" if param.output_axis is not None and param.size else "no output channels are known"


def _copy(model: Model) -> Model:
    """The Program and its variables once more."""
    copied = _cloned(model, paddle.static.Scope())
    for name in model.param_names:
        copied.graph.store(name, model.graph.stored(name))
    return copied


def _cloned(model: Model, scope: Any) -> Model:
    """The Program once more, over a scope."""
    mapping = paddle.pir.IrMapping()
    program = model.program.clone(mapping)
    return Model(model.files, program, scope, model.place, model.feeds, tuple(map(mapping.look_up, model.fetches)))


def _row(param: Param, model: Model, quantized: Model, kept: str) -> Int8Row:
    """Quantize one weight of the copy, unless it is kept."""
    weight = model.graph.array(param.name)
    zeros = param.size - int(np.count_nonzero(weight))
    if kept:
        return Int8Row(param.name, param.role, param.shape, param.size, zeros, 0, 0.0, kept)
    values, scale = rounded(weight, "int8", param.name, param.output_axis)
    assert scale is not None  # of int8 there always is one
    _replace(quantized, param, values, scale)
    difference = restored(values, "int8", scale, param.output_axis).astype(np.float64) - weight
    error = _ratio((difference**2).sum(), (weight.astype(np.float64) ** 2).sum())
    return Int8Row(
        param.name,
        param.role,
        param.shape,
        param.size,
        zeros,
        param.size - int(np.count_nonzero(values)) - zeros,
        error,
    )


def _replace(model: Model, param: Param, values: np.ndarray, scale: np.ndarray) -> None:
    """Let the Program read cast(values) * scale where it read the param, under the param's name."""
    shape = [-1 if axis == param.output_axis else 1 for axis in range(len(param.shape))]
    arrays = {param.name: values, param.name + SCALE: scale.reshape(shape)}
    block = model.program.global_block()
    old = next(value for value in block.all_parameters() if value.name == param.name)
    with paddle.static.program_guard(model.program, paddle.static.Program()):
        fresh = [
            paddle.pir.core.create_parameter(
                str(array.dtype),
                list(array.shape),
                name=name,
                trainable=False,
                initializer=paddle.nn.initializer.Constant(0.0),
            )
            for name, array in arrays.items()
        ]
        paddle.pir.set_insertion_point_after(old.get_defining_op())
        old.replace_all_uses_with(fresh[0].cast(old.dtype) * fresh[1])
    block.remove_op(old.get_defining_op())
    for name, array in arrays.items():
        model.graph.store(name, array)


def _bytes(model: Model) -> int:
    return sum(model.graph.stored(name).nbytes for name in model.param_names)


def _ratio(squares: Any, of: Any) -> float:
    return float(np.sqrt(squares / of)) if of else float(np.sqrt(squares))
