"""The nets that are timed: random weights, pruned; saved as Paddle writes them, converted, and as ONNX."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Case:
    """A net, the fraction of its weights that is zero, and how many outputs lose a weight together."""

    net: str
    sparsity: float
    block: int

    def __str__(self) -> str:
        return f"{self.net} {self.sparsity:.0%} {'random' if self.block == 1 else f'{self.block}x1 blocks'}"

    def prefix(self, folder: Path) -> str:
        return str(folder / f"{self.net}-{self.sparsity}-{self.block}")


CASES = (*(Case("MobileNet", sparsity, block) for block in (1, 2, 4) for sparsity in (0.75, 0.9)),
         Case("ResNet50", 0.9, 1))


def prepare(case: Case, folder: Path) -> str:
    """Save the net, its conversion, its ONNX file and an int8 one, unless they are there; returns their prefix."""
    prefix = case.prefix(folder)
    if not Path(prefix + "_int8.onnx").exists():
        _save(case, prefix)
        _convert(prefix)
        _quantize(prefix)
    return prefix


def prune(weight: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    """Zeros in the blocks of `block` outputs with the smallest absolute sums; weight: [outputs, inputs]."""
    scores = np.abs(weight).reshape(-1, block, weight.shape[1]).sum(1)
    last = round(sparsity * scores.size) - 1
    return weight * np.repeat(scores > np.partition(scores.ravel(), last)[last], block, axis=0)


def _save(case: Case, prefix: str) -> None:
    """MobileNet: the 1x1 convolutions and the linear layer are pruned; ResNet-50: all but the stem."""
    import models
    import paddle
    paddle.enable_static()
    paddle.seed(0)
    random, scope = np.random.default_rng(0), paddle.static.Scope()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.scope_guard(scope):
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [-1, 3, 224, 224], "float32")
            net = getattr(models, case.net)(3, 1000)
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
        return np.ascontiguousarray(prune(old.T, case.sparsity, case.block).T)
    small = old.shape[1] <= 3  # the stem and the depthwise layers stay dense
    if small or (case.net == "MobileNet" and old.shape[2] > 1):
        return old
    return prune(old.reshape(len(old), -1), case.sparsity, case.block).reshape(old.shape)


def _convert(prefix: str) -> None:
    import paddle2onnx

    from paddle_unstructured.export.runtime import convert
    paddle2onnx.export(prefix + ".json", prefix + ".pdiparams", prefix + ".onnx", opset_version=13)
    convert(prefix, prefix + "_fast")


def _quantize(prefix: str) -> None:
    """Static int8 (QDQ) by ONNX Runtime, calibrated on random input: what it costs, not what it knows."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            random = np.random.default_rng(0)
            self.left = [{"x": random.normal(size=(1, 3, 224, 224)).astype("float32")} for _ in range(4)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None
    quant_pre_process(prefix + ".onnx", prefix + "_prepared.onnx")
    quantize_static(prefix + "_prepared.onnx", prefix + "_int8.onnx", Inputs(), per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
