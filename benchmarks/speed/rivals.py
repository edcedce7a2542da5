# SPDX-License-Identifier: Apache-2.0
"""The engines that are compared: each takes a model file and a thread count, and returns what runs one batch.

A new column is an entry of `RIVALS`, named in a table's columns. Imports are inside the functions, as
each engine runs in a process of its own, some in another Python.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np

Run = Callable[..., Any]  # the inputs in order


@dataclass(frozen=True)
class Rival:
    """A column of the table.

    Attributes:
        open: (model file, threads) -> what runs one batch.
        ending: What follows the model's prefix in the name of its file.
        module: The Python module that must be there; empty if this Python has it anyway.
    """

    open: Callable[[str, int], Run]
    ending: str
    module: str = ""


def session(model: str, threads: int) -> Run:
    from paddle_unstructured.runtime.session import Session

    return Session(model, threads=threads).run


def predictor(model: str, threads: int) -> Run:
    from paddle_unstructured.runtime.predictor import create_predictor

    opened = create_predictor(model, threads=threads)
    sources = [opened.get_input_handle(name) for name in opened.get_input_names()]
    targets = [opened.get_output_handle(name) for name in opened.get_output_names()]

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        for source, x in zip(sources, inputs):
            source.copy_from_cpu(x)
        opened.run()
        return [target.copy_to_cpu() for target in targets]

    return run


def onnxruntime(model: str, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    opened = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in opened.get_inputs()]
    return lambda *inputs: opened.run(None, dict(zip(names, inputs)))


def openvino(model: str, threads: int) -> Run:
    return _openvino(model, threads, {"INFERENCE_PRECISION_HINT": "f32"})


def openvino_default(model: str, threads: int) -> Run:
    """As it comes: bfloat16 where the processor has AMX or AVX512-BF16."""
    return _openvino(model, threads, {})


def _openvino(model: str, threads: int, more: dict[str, str]) -> Run:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **more}
    return ov.Core().compile_model(model, "CPU", options)


def openvino_fixed(model: str, threads: int, **precision: str) -> Run:
    """Compiled for the shapes of the first run, as it is fastest with fixed ones."""
    import openvino as ov

    core, compiled = ov.Core(), []
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **precision}

    def run(*inputs: np.ndarray) -> Any:
        if not compiled:
            read = core.read_model(model)
            read.reshape({i: x.shape for i, x in enumerate(inputs)})
            compiled.append(core.compile_model(read, "CPU", options))
        return compiled[0](list(inputs))

    return run


def mnn(model: str, threads: int) -> Run:
    import MNN

    converted = model[: -len(".onnx")] + ".mnn"
    if not Path(converted).exists():
        subprocess.run(
            [
                str(Path(sys.executable).with_name("mnnconvert")),
                "-f",
                "ONNX",
                "--modelFile",
                model,
                "--MNNModel",
                converted,
                "--bizCode",
                "x",
                "--detectSparseSpeedUp",
            ],
            check=True,
            capture_output=True,
        )
    interpreter = MNN.Interpreter(converted)
    opened = interpreter.createSession({"numThread": threads, "backend": "CPU", "precision": "high"})
    source = interpreter.getSessionInput(opened)

    def run(x: np.ndarray) -> Any:
        if tuple(source.getShape()) != x.shape:
            interpreter.resizeTensor(source, x.shape)
            interpreter.resizeSession(opened)
        source.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe))
        interpreter.runSession(opened)
        return interpreter.getSessionOutput(opened).getNumpyData()

    return run


def deepsparse(model: str, threads: int) -> Run:
    import deepsparse as ds

    engines: dict[int, Any] = {}

    def run(x: np.ndarray) -> Any:
        if len(x) not in engines:
            engines[len(x)] = ds.Engine(model, batch_size=len(x), num_cores=threads)
        return engines[len(x)].run([x])

    return run


RIVALS = {
    "ours": Rival(session, "_fast"),
    "ours in Predictor": Rival(predictor, "_fast"),
    "ours bf16": Rival(session, "_bf16"),
    "ours int8": Rival(session, "_bytes"),
    "ours int8 in Predictor": Rival(predictor, "_bytes"),
    "ONNX Runtime": Rival(onnxruntime, ".onnx"),
    "ONNX Runtime int8": Rival(onnxruntime, "_int8.onnx"),
    "Paddle oneDNN": Rival(predictor, ""),
    "OpenVINO": Rival(openvino, ".onnx", "openvino"),
    "OpenVINO default": Rival(openvino_default, ".onnx", "openvino"),
    "OpenVINO int8": Rival(openvino, "_int8.onnx", "openvino"),
    "OpenVINO NNCF int8": Rival(openvino_default, "_nncf.xml", "openvino"),
    "OpenVINO fixed default": Rival(openvino_fixed, ".onnx", "openvino"),
    "OpenVINO fixed": Rival(partial(openvino_fixed, INFERENCE_PRECISION_HINT="f32"), ".onnx", "openvino"),
    "MNN sparse": Rival(mnn, ".onnx", "MNN"),
    "DeepSparse": Rival(deepsparse, ".onnx", "deepsparse"),
    "DeepSparse int8": Rival(deepsparse, "_int8.onnx", "deepsparse"),
}
# The columns of the three tables; the first one is what the others are compared with.
FLOATS = (
    "ours",
    "ours in Predictor",
    "ONNX Runtime",
    "Paddle oneDNN",
    "ONNX Runtime int8",
    "OpenVINO",
    "OpenVINO default",
    "MNN sparse",
    "DeepSparse",
)
BYTES = (
    "ours int8",
    "ours int8 in Predictor",
    "ours",
    "ONNX Runtime int8",
    "ONNX Runtime",
    "Paddle oneDNN",
    "OpenVINO default",
    "OpenVINO int8",
    "OpenVINO NNCF int8",
    "DeepSparse int8",
)
HALVES = ("ours bf16", "ours", "OpenVINO default", "OpenVINO fixed default", "OpenVINO", "ONNX Runtime")
