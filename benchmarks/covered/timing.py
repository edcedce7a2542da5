# SPDX-License-Identifier: Apache-2.0
"""The engines in turn on one net, each in a process of its own, one thread; and what they need on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from speed.measuring import Worker, in_turns

from .rival_files import to_nncf, to_onnx, to_qdq

# column -> engine of speed/rivals.py, ending of its file
OTHERS = {
    "Paddle": ("Paddle oneDNN", ""),
    "ONNX Runtime": ("ONNX Runtime", ".onnx"),
    "ONNX Runtime int8": ("ONNX Runtime int8", "_qdq.onnx"),
    "OpenVINO default": ("OpenVINO fixed default", ".onnx"),
    "OpenVINO float32": ("OpenVINO fixed", ".onnx"),
    "OpenVINO int8": ("OpenVINO fixed default", "_nncf.xml"),
}
COLUMNS = {"ours int8, 75%": ("ours", "_bytes"), "ours float32, 90%": ("ours", "_fast90"), **OTHERS}


def prepare(one: Any, folder: Path, *, small: bool) -> str:
    """All files of a net; those that an engine's converter cannot write are missing, and it says why on stderr."""
    import paddle
    from architectures.saving import save

    from paddle_unstructured.runtime import convert

    prefix = str(folder / one.name.replace(" ", "_"))
    random = np.random.default_rng(0)
    if not Path(prefix + "_fast90.pdiparams").exists():
        save(one, prefix + "_90", small=small, sparsity=0.9)
        paddle.enable_static()
        convert(prefix + "_90", prefix + "_fast90")
    np.savez(prefix + "_inputs.npz", *one.samples(random, 1, small=small))
    try:
        if not Path(prefix + ".onnx").exists():
            to_onnx(prefix, prefix + ".onnx")
        names = _names(prefix + ".onnx")
        samples = [dict(zip(names, one.samples(random, 1, small=small))) for _ in range(4)]
        if not Path(prefix + "_qdq.onnx").exists():
            to_qdq(prefix + ".onnx", prefix + "_qdq.onnx", samples)
        if not Path(prefix + "_nncf.xml").exists():
            tokens = one.name in ("BERT-base", "GPT-small", "DeiT-tiny", "Swin-tiny", "SVTR-tiny")
            to_nncf(prefix + ".onnx", prefix + "_nncf.xml", samples, tokens=tokens)
    except Exception as error:
        print(f"{one.name}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
    return prefix


def _names(file: str) -> list[str]:
    import onnxruntime

    return [each.name for each in onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()]


def columns(*, whole: bool) -> dict[str, tuple[str, str]]:
    """Ours in a Session if the net is whole, else in the Predictor."""
    return {
        column: ("ours in Predictor" if engine == "ours" and not whole else engine, ending)
        for column, (engine, ending) in COLUMNS.items()
    }


def measure(prefix: str, columns: Mapping[str, tuple[str, str]], *, rounds: int, clock: str) -> dict[str, float]:
    """Best milliseconds of each engine that runs the net."""
    workers = {}
    for column, (engine, ending) in columns.items():
        file = prefix + ending
        if not Path(file if Path(file).suffix in (".onnx", ".xml") else file + ".json").exists():
            continue
        worker = Worker.start(sys.executable, engine, file, 1, 1, clock, prefix + "_inputs.npz")
        if worker is not None:
            workers[column] = worker
    in_turns(list(workers.values()), rounds)
    return {column: 1000 * min(worker.seconds) for column, worker in workers.items()}
