# SPDX-License-Identifier: Apache-2.0
"""Paddle's own Predictor: what opens an inference model, and what of Paddle 3.3 goes wrong inside it."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any, Collection, Iterable

import paddle

from .graph.program import walk
from .graph.values import exists, kind_of

_LOG = logging.getLogger(__name__)

# oneDNN's instruction cannot read their list of scales: NotImplementedError at the first run.
WITHOUT_ONEDNN = ("nearest_interp", "bilinear_interp")
MOST_AXES = 6  # with more, softmax, products and others of its kernels throw a std::exception at the first run
# It fuses the product with what a convolution has left in oneDNN's blocked layout, and reads that as a plain one.
_HALF = ("float16", "bfloat16")
WRONG_PASS = "reshape_transpose_matmul_fuse_pass"
# Opening a model in which this pass meets a convolution with leaky ReLU ends the process: segmentation fault (3.3.1).
CRASHING_PASS = "conv_activation_onednn_fuse_pass"
# Where one of these ops, which oneDNN has not, reads numbers that another op reads too, this pass lets it write its
# results over them.
OVERWRITING_PASS = "inplace_pass"
_OVERWRITING = set(
    "sin cos tan asin acos atan sinh cosh asinh acosh atanh floor ceil round trunc sign square erf erfinv log log1p "
    "log2 log10 expm1 rsqrt reciprocal cumsum cumprod tril triu digamma lgamma logit softsign celu selu hardshrink "
    "softshrink tanh_shrink thresholded_relu".split()
)
WITHOUT = (
    "%s: paddle.inference with oneDNN, its default, %s; call config.%s, or open the model with "
    "paddle_unstructured.runtime.create_predictor, which does."
)
_KEEPS_LAYOUT = {
    "add",
    "batch_norm",
    "concat",
    "dropout",
    "multiply",
    "pool2d",
    "relu",
    "relu6",
    "scale",
    "swish",
    "clip",
}


def make_config(
    program: str,
    params: str,
    *,
    threads: int = 1,
    onednn: bool = True,
    kinds: Collection[str] = (),
    in_place: bool = True,
) -> Any:
    """A CPU `Config` with the switches that a `.json` model needs, and without the passes that are wrong.

    Args:
        program, params: The two files.
        threads: threads of Paddle's kernels.
        onednn: Whether oneDNN may run what it can.
        kinds: kinds of the model's ops.
        in_place: whether ops may write over what they read.
    """
    config = paddle.inference.Config(program, params)
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.enable_new_ir(True)  # without these two, enable_memory_optim fails for .json models
    config.enable_new_executor(True)
    config.enable_memory_optim()
    config.delete_pass(WRONG_PASS)
    if crashes(kinds):
        config.delete_pass(CRASHING_PASS)
    if not in_place:
        config.delete_pass(OVERWRITING_PASS)
    if not onednn:
        config.disable_mkldnn()
    return config


def overwrites(reads: Iterable[tuple[str, Collection[Any]]]) -> bool:
    """Whether `OVERWRITING_PASS` makes wrong numbers of a model.

    Args:
        reads: kind of each op, and the values that it reads.
    """
    readers, guilty = Counter[Any](), set[Any]()
    for kind, values in reads:
        readers.update(set(values))
        if kind in _OVERWRITING:
            guilty.update(values)
    return any(readers[value] > 1 for value in guilty)


def without_onednn(kinds: Iterable[str], ranks: Iterable[int], norms: Iterable[tuple[int, int]]) -> list[str]:
    """What of a model oneDNN fails on.

    Args:
        kinds: kinds of its ops.
        ranks: numbers of axes of its values: with more than `MOST_AXES` its kernels in Paddle fail.
        norms: of each layer norm the first axis that it normalizes, and the number of axes: its kernel takes the last
            alone.
    """
    most = max(ranks, default=0)
    wide = [f"values of {most} axes"] if most > MOST_AXES else []
    deep = ["layer_norm over several axes"] if any(first + 1 < axes for first, axes in norms) else []
    return [*sorted(set(kinds) & set(WITHOUT_ONEDNN)), *deep, *wide]


def crashes(kinds: Collection[str]) -> bool:
    """Whether `CRASHING_PASS` would end the process that opens a model with these kinds of ops."""
    return "leaky_relu" in kinds and any(kind.endswith("conv2d") for kind in kinds)


def check_opens(program: str, params: str, *, half: bool = False, kinds: Collection[str] = ()) -> None:
    """Open a model as its users will: `paddle.inference` with its defaults.

    A model that only opens without oneDNN, or without a pass of it, is logged as such.

    Args:
        program, params: The two files.
        kinds: kinds of the model's ops.
        half: Whether it computes in half precision, which a CPU does for some ops only: what does not open here is
            logged, and may open on a GPU.

    Raises:
        ValueError: It does not open.
    """
    faults = _faults(program, params, kinds)
    if len(faults) == 2 and half:
        _LOG.warning(
            "the model computes in half precision, and paddle.inference cannot open it on this CPU (%s); try a GPU.",
            faults[1],
        )
    elif len(faults) == 2:
        raise ValueError(
            f"the model was not written, since paddle.inference of Paddle {paddle.__version__} cannot open it: "
            f"{faults[1]}; look for what the message names in the model, and leave it out of what is exported."
        )
    elif faults:
        _LOG.warning(
            "paddle.inference opens the model only without oneDNN (%s); call config.disable_mkldnn().", faults[0]
        )


def _faults(program: str, params: str, kinds: Collection[str]) -> list[str]:
    """Why a model does not open with the defaults, and why not without oneDNN; [] if it opens, one if it does then."""
    faults: list[str] = []
    for onednn in (True, False):
        config = paddle.inference.Config(program, params)
        config.disable_glog_info()
        if not onednn:
            config.disable_mkldnn()
        elif crashes(kinds):
            config.delete_pass(CRASHING_PASS)
        try:
            paddle.inference.create_predictor(config)
            return faults
        except Exception as error:  # of any kind that Paddle's C++ comes to Python with
            faults.append(reason(error))
    return faults


def reason(error: Exception) -> str:
    """The line of an error of Paddle's C++ that says what is wrong; the others are its stack and its hints."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    says = [line for line in lines if re.match(r"\(\w|\w+Error: ", line)]
    others = [line for line in lines if not line.startswith("[")]
    return (says[:1] or others[-1:] or lines[-1:] or [repr(error)])[0]


def is_paddles(error: Exception) -> bool:
    """Whether an error was raised by Paddle's C++, which says where."""
    return re.search(r"\(at \S+:\d+\)|\[operator <|C\+\+ Traceback", str(error)) is not None


def is_half(program: Any) -> bool:
    """Whether a Program computes in half precision; weights that are cast first do not count."""
    results = (op.result(0) for op in walk(program.global_block()) if op.num_results() and op.num_operands())
    return any(exists(v) and v.is_dense_tensor_type() and str(v.dtype).split(".")[-1].lower() in _HALF for v in results)


def warn_of_onednn(program: Any, name: str) -> None:
    """Log what paddle.inference does wrong with a Program if its `Config` stays as it is."""
    ops = list(walk(program.global_block()))
    results = (value for op in ops for value in op.results())
    ranks = (len(value.shape) for value in results if exists(value) and value.is_dense_tensor_type())
    norms = [(op.attrs()["begin_norm_axis"], len(op.result(0).shape)) for op in ops if kind_of(op) == "layer_norm"]
    failing = without_onednn(map(kind_of, ops), ranks, norms)
    if failing:
        _LOG.warning(
            "%s: paddle.inference fails on %s with oneDNN, its default; call config.disable_mkldnn(), or open the "
            "model with paddle_unstructured.runtime.create_predictor, which does.",
            name,
            " and ".join(failing),
        )
    elif any(kind_of(op) == "matmul" and any(map(_is_misread, op.operands_source())) for op in ops):
        _LOG.warning(
            "%s: paddle.inference computes convolution, reshape, transpose, matmul wrongly with oneDNN, its default; "
            "call config.delete_pass(%r), or open the model with paddle_unstructured.runtime.create_predictor, which "
            "does.",
            name,
            WRONG_PASS,
        )
    if overwrites((kind_of(op).rstrip("_"), [v.id for v in op.operands_source() if exists(v)]) for op in ops):
        _LOG.warning(WITHOUT, name, "writes over numbers that are read again", f"delete_pass({OVERWRITING_PASS!r})")
    if not failing and crashes({kind_of(op) for op in ops}):  # without oneDNN there is no such pass
        _LOG.warning(WITHOUT, name, "crashes on leaky_relu behind a convolution", f"delete_pass({CRASHING_PASS!r})")


def _is_misread(value: Any) -> bool:
    """Whether a factor is a convolution's output, reshaped and transposed."""
    for kind in ("transpose", "reshape"):
        producer = value.get_defining_op() if exists(value) else None
        if producer is None or kind_of(producer) != kind:
            return False
        value = producer.operand_source(0)
    while exists(value) and kind_of(value.get_defining_op()) in _KEEPS_LAYOUT:
        value = value.get_defining_op().operand_source(0)
    return exists(value) and "conv" in kind_of(value.get_defining_op())
