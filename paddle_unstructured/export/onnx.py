# SPDX-License-Identifier: Apache-2.0
"""A saved model as an ONNX file, made by paddle2onnx and checked against Paddle's own output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..arguments import StrPath, number, path, whole
from ..formats.atomic import replace_file
from ..formats.scratch import scratch
from ..graph.program import walk
from ..graph.values import exists, kind_of
from ..saved_model import Model, in_inference_mode, open_model
from .inputs import check_inputs, random_inputs
from .onnx_ops import save_for_onnx

# In a process of its own: on an op that it does not know, paddle2onnx aborts the process that it runs in. Its
# optimize_tool "polygraphy", the default, would install packages.
_CONVERT = """
import sys
import paddle2onnx
prefix, opset = sys.argv[1:]
paddle2onnx.export(prefix + ".json", prefix + ".pdiparams", prefix + ".onnx", int(opset), optimize_tool="none")
"""
_ROUNDING = 2 * float(np.finfo(np.float32).eps)  # of a number near 1: all that is known of a sigmoid near 0
_COMMON = ("float32", "float64", "int32", "int64", "bool")
_USUAL = frozenset(  # kinds of ops that every model has, and that paddle2onnx converts
    "parameter combine data fetch full full_int_array assign assign_value scale cast shape slice concat split stack "
    "conv2d depthwise_conv2d conv2d_transpose pool2d batch_norm layer_norm matmul add subtract multiply divide maximum "
    "minimum mean sum max exp sqrt relu relu6 leaky_relu sigmoid tanh gelu hardswish hardsigmoid swish softmax "
    "dropout reshape flatten squeeze unsqueeze transpose pad3d nearest_interp bilinear_interp embedding".split()
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class OnnxReport:
    """What was compared.

    Attributes:
        file: The ONNX file.
        opset: version of its ops.
        largest: Largest |onnxruntime - Paddle| over all outputs and inputs tried.
        relative: difference, divided by the largest |Paddle| of that output.
        tries: Batch sizes tried, or the number of samples given.
        zeros, weights: Exact zeros, and size, of the weights that are initializers of their own name.
        renamed: Weights that are not: paddle2onnx has folded them into others.
    """

    file: str
    opset: int
    largest: float
    relative: float
    tries: str
    zeros: int
    weights: int
    renamed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.file}: opset {self.opset}, differs from Paddle by at most {self.largest:.3g} (relative "
            f"{self.relative:.3g}) on {self.tries}; {self.zeros} of {self.weights} weights are zero"
            + (f"; not found under their names: {', '.join(self.renamed)}" if self.renamed else "")
        )


def to_onnx(
    model: StrPath | Model,
    out: StrPath,
    *,
    opset: int = 13,
    tolerance: float = 1e-4,
    inputs: Sequence[Mapping[str, np.ndarray]] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> OnnxReport:
    """Convert an inference model to ONNX, and run both to see that they agree.

    The file appears under its name only when they do. Norms, dropout and random masks are set to inference, as `export`
    does it. Weights become initializers, with their zeros where they were.

    Args:
        model: An inference model, PIR or legacy, as for `open_model`, one of `quantize_weights` too; or what
            `open_model` gave, whose Program is changed.
        out: The ONNX file.
        opset: version of the ops in the ONNX file; paddle2onnx may raise it to what the model needs.
        tolerance: Largest |difference| / largest |output| of each output. A difference of two roundings of 1, 2.4e-7,
            is none: a detector that finds nothing answers with sigmoids of 1e-7.
        inputs: Dicts of arrays by name to compare on. Default: random ones of 1 and of 3 rows.
        shapes: input name -> shape of random inputs, where the model leaves sizes open.

    Raises:
        ImportError: The extra "onnx" is not installed.
        FileNotFoundError: There is no model.
        ValueError: Not an inference model, its outputs depend on random numbers, paddle2onnx cannot convert it, the
            outputs differ, zeros were lost, or inputs that do not fit.

    Example:
        >>> print(to_onnx("runs/gmp90/inference", "gmp90.onnx"))  # doctest: +SKIP
    """
    opened, out = model if isinstance(model, Model) else open_model(path("model", model)), path("out", out)
    whole("opset", opset, least=1)
    number("tolerance", tolerance, above=0)
    onnx, onnxruntime = _packages()
    if not opened.fetches:
        raise ValueError(
            f"`model` must be an inference model, got {opened.files.program}, which returns nothing "
            "(a training checkpoint?); export it first."
        )
    opened = in_inference_mode(opened)
    tried, said = _tries(opened, inputs, shapes)
    for one in tried:
        check_inputs(opened, one)
    made = _with_initializers(onnx.load_from_string(_converted(opened, opset)), opened.param_names)
    _join_scalars(onnx, made)
    session = _session(onnxruntime, made, opened)
    largest, relative = _compare(opened, session, tried, tolerance)
    zeros, weights, renamed = _zeros(onnx, opened, made)
    replace_file(out, made.SerializeToString())
    return OnnxReport(out, made.opset_import[0].version, largest, relative, said, zeros, weights, renamed)


def _tries(
    model: Model, inputs: Sequence[Mapping[str, np.ndarray]] | None, shapes: Mapping[str, Sequence[int]] | None
) -> tuple[list[dict[str, np.ndarray]], str]:
    """The inputs to compare on, and what they are in words."""
    if inputs is not None:
        feeds = [dict(given) for given in inputs]
        count = sum(max((np.shape(array)[0] for array in feed.values() if np.ndim(array)), default=1) for feed in feeds)
        return feeds, f"{count} given sample{'s' * (count != 1)}"
    if shapes is None:
        return [random_inputs(model, batch) for batch in (1, 3)], "random inputs of 1 and 3 rows"
    tried = random_inputs(model, shapes=shapes)
    return [tried], "random inputs of " + ", ".join(f"{name}={list(array.shape)}" for name, array in tried.items())


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime

        if find_spec("paddle2onnx") is None:
            raise ImportError("No module named 'paddle2onnx'")
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs paddle2onnx, onnx and onnxruntime: pip install 'paddle_unstructured[onnx]' ({error})."
        ) from error
    return onnx, onnxruntime


def _converted(model: Model, opset: int) -> bytes:
    """What paddle2onnx makes of the model, saved anew in ops that it knows; so legacy ones convert too."""
    with scratch() as folder:
        prefix = os.path.join(folder, "model")
        save_for_onnx(model, prefix)
        done = subprocess.run(
            [sys.executable, "-c", _CONVERT, prefix, str(opset)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode == 0:
            return Path(prefix + ".onnx").read_bytes()
    printed = done.stdout.replace(prefix, model.files.prefix)  # the user's file, not ours
    said = [_COLOURS.sub("", line) for line in printed.splitlines() if "ERROR" in line]
    ops = {kind_of(op) for op in model.program.global_block().ops}
    suspects = sorted(ops - _USUAL) or sorted(ops)
    raise ValueError(
        f"paddle2onnx cannot convert {model.files.prefix} to opset {opset}: "
        f"{' '.join(said) or printed[-500:]} It does not say which; of the model's ops probably "
        f"{' or '.join(suspects)}{_rare(model)}."
    )


def _with_initializers(made: Any, names: frozenset[str]) -> Any:
    """Params as initializers, where tools look for weights; paddle2onnx writes them as Constant nodes."""
    others = []
    for node in made.graph.node:
        if node.op_type == "Constant" and node.output[0] in names:
            tensor = made.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            others.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in others]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    return made


def _join_scalars(onnx: ModuleType, made: Any) -> None:
    """Computed shapes: paddle2onnx joins scalars by Concat, which takes vectors; each becomes a vector of one."""
    shapes = {node.input[1] for node in made.graph.node if node.op_type in ("Reshape", "Expand") and node.input[1:]}
    joins = [node for node in made.graph.node if node.op_type == "Concat" and shapes & set(node.output)]
    vector = "paddle_unstructured.vector"
    if not joins or any(tensor.name == vector for tensor in made.graph.initializer):  # none, or it has been done
        return
    made.graph.initializer.append(onnx.helper.make_tensor(vector, onnx.TensorProto.INT64, [1], [-1]))
    nodes = []
    for node in made.graph.node:
        if node in joins:
            for i, name in enumerate(node.input):
                node.input[i] = f"{node.output[0]}.{i}"
                nodes.append(onnx.helper.make_node("Reshape", [name, vector], [node.input[i]]))
        nodes.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(kept)


def _session(onnxruntime: ModuleType, made: Any, model: Model) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is fatal; the rest comes as an exception, and it warns of every constant
    with _understood(model):
        return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def _understood(model: Model) -> Iterator[None]:
    """What onnxruntime refuses is a ValueError; its own exceptions have no base class but Exception."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"onnxruntime must run what paddle2onnx makes of the model, but says: {str(error).strip()}; nothing was "
            "written. Export it for Paddle, or write what the message names with other ops (float32 for bfloat16, an "
            f"LSTM or GRU for a SimpleRNN){_rare(model)}."
        ) from error


def _rare(model: Model) -> str:
    """Values of dtypes that few ONNX tools compute in, by the variable's name or the op that makes them; else ""."""
    found: dict[str, dict[str, None]] = {}
    for op in walk(model.program.global_block()):
        for value in op.results():
            dtype = str(value.dtype).split(".")[-1].lower() if exists(value) and value.is_dense_tensor_type() else ""
            if dtype and dtype not in _COMMON and not value.use_empty():
                called = value.name if value.has_name and not op.num_operands() else f"a result of {op.name()}"
                found.setdefault(dtype, {})[called] = None
    said = [f"{', '.join(list(names)[:8])} in {dtype}" for dtype, names in sorted(found.items())]
    return f"; of rare dtypes there are {'; '.join(said)}" if said else ""


def _compare(
    model: Model, session: Any, tried: Sequence[Mapping[str, np.ndarray]], tolerance: float
) -> tuple[float, float]:
    """Largest absolute and relative difference of the outputs; ValueError where it is beyond the tolerance."""
    worst = [0.0, 0.0]
    for inputs in tried:
        with _understood(model):
            found = session.run(None, dict(inputs))
        for i, (ours, theirs) in enumerate(zip(model.run(**inputs), found)):
            if np.shape(ours) != np.shape(theirs):
                raise ValueError(
                    f"the ONNX model must give what Paddle gives, but output {i} has shape "
                    f"{np.shape(theirs)} instead of {np.shape(ours)}."
                )
            difference = _largest(np.asarray(theirs, np.float64) - np.asarray(ours, np.float64))
            relative = difference / (_largest(ours) or 1.0)
            if not (relative <= tolerance or difference <= _ROUNDING):  # NaN is a difference too
                raise ValueError(
                    f"the ONNX model must give what Paddle gives, but output {i} differs by "
                    f"{difference:.3g} (relative {relative:.3g}, allowed {tolerance:g}) on inputs of "
                    f"shape {[np.shape(array) for array in inputs.values()]}; nothing was written."
                )
            worst = [max(worst[0], difference), max(worst[1], relative)]
    return worst[0], worst[1]


def _largest(array: Any) -> float:
    return float(np.abs(np.asarray(array, np.float64)).max(initial=0.0))


def _zeros(onnx: ModuleType, model: Model, made: Any) -> tuple[int, int, tuple[str, ...]]:
    """(zeros, weights, names not found) of the file's weights; ValueError if a zero of the model is none there."""
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    params = [param for param in model.graph.params() if param.is_weight]
    zeros = 0
    for param in (param for param in params if param.name in tensors):
        ours, theirs = model.graph.array(param.name), onnx.numpy_helper.to_array(tensors[param.name])
        if ours.shape != theirs.shape or theirs[ours == 0].any():
            raise ValueError(
                f"zeros must stay zeros, but the ONNX model has another {param.name}; nothing was written."
            )
        zeros += int(theirs.size - np.count_nonzero(theirs))
    return (
        zeros,
        sum(param.size for param in params if param.name in tensors),
        tuple(param.name for param in params if param.name not in tensors),
    )
