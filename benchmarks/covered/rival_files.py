# SPDX-License-Identifier: Apache-2.0
"""A saved net as the other engines read it: ONNX, int8 by ONNX Runtime (static QDQ), int8 by NNCF for OpenVINO."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

OPSET = 16
# In a process of its own: paddle2onnx aborts the process where it knows no way.
_CONVERT = "import paddle2onnx, sys; paddle2onnx.export(*sys.argv[1:4], int(sys.argv[4]), optimize_tool='none')"


def need(parser: argparse.ArgumentParser, *modules: str) -> None:
    """End with the parser's error if a module is missing: at once, not behind the minutes that our own rows take."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        parser.error(f"the other engines' rows need {', '.join(missing)}: pip install {' '.join(missing)}")


def to_onnx(prefix: str, out: str) -> None:
    """By paddle2onnx, of a copy in ops that it knows; other than the library's `to_onnx` it may differ from Paddle.

    Raises:
        RuntimeError: It cannot write the net.
    """
    import paddle

    from paddle_unstructured.export.onnx_ops import save_for_onnx
    from paddle_unstructured.saved_model import open_model

    paddle.enable_static()
    with tempfile.TemporaryDirectory() as folder:
        copy = f"{folder}/model"
        save_for_onnx(open_model(prefix), copy)
        command = [sys.executable, "-c", _CONVERT, copy + ".json", copy + ".pdiparams", out, str(OPSET)]
        done = subprocess.run(command, capture_output=True, text=True)
    if not Path(out).exists():
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["aborted"]
        raise RuntimeError(f"paddle2onnx: {said[0][:200]}")


def to_qdq(file: str, out: str, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
    """ONNX Runtime's static int8: uint8 activations, int8 weights with a scale for each channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = list(samples)

        def get_next(self) -> Any:
            return dict(self.left.pop()) if self.left else None

    prepared = out + "_prepared.onnx"
    try:
        quant_pre_process(file, prepared)
    except Exception:  # its inference of symbolic shapes does not know every op
        quant_pre_process(file, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        out,
        Samples(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    Path(prepared).unlink()


def to_nncf(file: str, out: str, samples: Sequence[Mapping[str, np.ndarray]], *, tokens: bool) -> None:
    """NNCF's int8 for OpenVINO, with its rules for transformers if the net is one."""
    import nncf
    import openvino

    model = openvino.Core().read_model(file)
    model.reshape({name: each.shape for name, each in samples[0].items()})
    kind = nncf.ModelType.TRANSFORMER if tokens else None
    quantized = nncf.quantize(model, nncf.Dataset(list(samples)), model_type=kind, subset_size=len(samples))
    openvino.save_model(quantized, out, compress_to_fp16=False)
