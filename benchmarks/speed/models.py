# SPDX-License-Identifier: Apache-2.0
"""The nets that are timed: random weights, pruned; saved as Paddle writes them, converted, and as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np


@dataclass(frozen=True)
class Case:
    """A row of a table: a net, the fraction of its weights that is zero, and what falls together.

    Attributes:
        net: Of the demo, or in nets.py.
        sparsity: 0 to 1.
        outputs, inputs: The block: neighbouring outputs x neighbouring inputs at one kernel position.
        int8: Whether it belongs to the table of bytes.
        bf16: whether it belongs to that of bfloat16.
    """

    net: str
    sparsity: float
    outputs: int = 1
    inputs: int = 1
    int8: bool = False
    bf16: bool = False

    def __str__(self) -> str:
        block = (self.outputs, self.inputs)
        return f"{self.net} " + (
            "dense"
            if self.sparsity == 0
            else f"{self.sparsity:.0%} " + ("random" if block == (1, 1) else f"{self.outputs}x{self.inputs} blocks")
        )

    def prefix(self, folder: Path) -> str:
        return str(folder / f"{self.net}-{self.sparsity}-{self.outputs}-{self.inputs}")


CASES = (
    *(Case("MobileNet", sparsity, block) for block in (1, 2, 4) for sparsity in (0.75, 0.9)),
    Case("ResNet50", 0.9),
    *(
        Case("MobileNet", sparsity, outputs, 4, int8=True)
        for sparsity, outputs in ((0.0, 1), (0.75, 1), (0.9, 1), (0.75, 2), (0.9, 2))
    ),
    *(Case(net, 0.75, 1, 4, int8=True) for net in ("MobileNetV2", "EfficientNet-Lite", "ResNet50")),
    *(Case("MobileNet", sparsity, 16, 4, int8=True) for sparsity in (0.75, 0.9)),
    Case("MobileNetV2", 0.75, 16, 4, int8=True),
    *(Case(net, sparsity, 16, 2, bf16=True) for net in ("ResNet50", "MobileNet") for sparsity in (0.0, 0.75, 0.9)),
    *(Case("ResNet50", sparsity, outputs, 4, int8=True) for sparsity, outputs in ((0.0, 1), (0.75, 16), (0.9, 16))),
)


def prepare(case: Case, folder: Path) -> str:
    """Save the net, its conversions, its ONNX file and an int8 one, unless they are there; returns their prefix."""
    prefix = case.prefix(folder)
    if case.bf16:
        if not Path(prefix + "_bf16.json").exists():
            _save(case, prefix)
            _convert(prefix, int8=False, bf16=True)
        return prefix
    if not Path(prefix + "_int8.onnx").exists():
        _save(case, prefix)
        _convert(prefix, int8=case.int8)
        _quantize(prefix)
    if case.int8 and not Path(prefix + "_nncf.xml").exists():
        _quantize_by_nncf(prefix)
    return prefix


def prune(weight: np.ndarray, sparsity: float, outputs: int, inputs: int = 1) -> np.ndarray:
    """Zeros in the blocks with the smallest absolute sums.

    Args:
        weight: [outputs, inputs] or [outputs, inputs, positions]; blocks at the ends may be smaller.
    """
    if sparsity == 0:
        return weight
    out, into, *rest = weight.shape
    sizes = np.pad(np.abs(weight), ((0, -out % outputs), (0, -into % inputs), *[(0, 0)] * len(rest)))
    scores = sizes.reshape(-(-out // outputs), outputs, -(-into // inputs), inputs, *rest).sum((1, 3))
    last = round(sparsity * scores.size) - 1
    keep = scores > np.partition(scores.ravel(), last)[last]
    return weight * np.repeat(np.repeat(keep, outputs, axis=0), inputs, axis=1)[:out, :into]


def _save(case: Case, prefix: str) -> None:
    """The stem and the depthwise layers stay dense."""
    import paddle

    from .nets import build

    paddle.enable_static()
    paddle.seed(0)
    random, scope = np.random.default_rng(0), paddle.static.Scope()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.scope_guard(scope):
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [-1, 3, 224, 224], "float32")
            net = build(case.net)
            net.eval()
            y = net(x)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        for value in program.global_block().all_parameters():
            tensor = scope.find_var(value.name).get_tensor()
            tensor.set(_pruned(random, case, np.array(tensor)), paddle.CPUPlace())
        paddle.static.save_inference_model(prefix, [x], [y], executor, program=program)


def _pruned(random: np.random.Generator, case: Case, old: np.ndarray) -> np.ndarray:
    if old.ndim == 1:  # norms; positive, so that no layer dies
        return random.uniform(0.5, 1.5, old.shape).astype("float32")
    if old.ndim == 2:
        return np.ascontiguousarray(prune(old.T, case.sparsity, case.outputs, case.inputs).T)
    if old.shape[1] <= 3:  # the stem and the depthwise layers
        return old
    return prune(old.reshape(*old.shape[:2], -1), case.sparsity, case.outputs, case.inputs).reshape(old.shape)


def _convert(prefix: str, *, int8: bool, bf16: bool = False) -> None:
    import paddle2onnx

    from paddle_unstructured.runtime import Bf16, Int8, convert

    paddle2onnx.export(prefix + ".json", prefix + ".pdiparams", prefix + ".onnx", opset_version=13)
    convert(prefix, prefix + "_fast")
    if bf16:
        convert(prefix, prefix + "_bf16", bf16=Bf16())
    if int8:
        convert(prefix, prefix + "_bytes", int8=Int8(np.stack(list(_inputs())), most_error=1))


def _inputs() -> Iterator[np.ndarray]:
    """What both ways to int8 are calibrated on: it makes them run, and teaches them nothing."""
    random = np.random.default_rng(0)
    return (random.normal(size=(3, 224, 224)).astype("float32") for _ in range(4))


def _quantize_by_nncf(prefix: str) -> None:
    """Static int8 as OpenVINO's own tool makes it; without that tool there is no such file."""
    try:
        import nncf
        import openvino as ov
    except ImportError:
        return
    model = ov.Core().read_model(prefix + ".onnx")
    made = nncf.quantize(model, nncf.Dataset([image[None] for image in _inputs()]))
    ov.save_model(made, prefix + "_nncf.xml", compress_to_fp16=False)


def _quantize(prefix: str) -> None:
    """Static int8 (QDQ) by ONNX Runtime. DeepSparse refuses newer operator sets, so those that are not used go."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"x": image[None]} for image in _inputs()]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    quant_pre_process(prefix + ".onnx", prefix + "_prepared.onnx")
    quantize_static(
        prefix + "_prepared.onnx",
        prefix + "_int8.onnx",
        Inputs(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(prefix + "_int8.onnx")
    used = {node.domain for node in model.graph.node}
    sets = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(sets)
    onnx.save(model, prefix + "_int8.onnx")
