"""`create_predictor`: Paddle's own Predictor for a converted model, with the flags set that are traps otherwise."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

import paddle

from ..arguments import StrPath, whole
from ..formats import pair
from ..formats.pir_json import ops_of, read_program
from ..saved_model import find_model
from .operator import NAME, register


def create_predictor(path: StrPath, *, threads: int = 1) -> Any:
    """Open a converted model (or any inference model) in Paddle's Predictor, on the CPU.

    Args:
        path: The prefix of its two files.
        threads: Of our kernels and of Paddle's.

    Returns:
        A `paddle.inference.Predictor`.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: `threads` is not positive; or another op stands before our operator with oneDNN on, whose layout it
            could not read.
        BuildError: The operator must be compiled once, and cannot be.

    Example:
        >>> predictor = create_predictor("runs/gmp90/fast", threads=2)  # doctest: +SKIP
        >>> probabilities, = predictor.run([paddle.to_tensor(images)])  # doctest: +SKIP
    """
    whole("threads", threads, least=1, rule="at least 1", hint="give a whole number")
    files = find_model(path)
    if files.kind != "inference":
        raise ValueError(
            f"`path` must be an inference model (.json and .pdiparams), got a {files.kind} model at {path}."
        )
    program = read_program(files.program)
    pair.check(files.program, files.params)
    if not _set_threads(program, threads):
        return paddle.inference.create_predictor(make_config(files.program, files.params, threads=threads))
    register()
    with tempfile.TemporaryDirectory() as folder:  # the weights stay where they are
        draft = os.path.join(folder, "model.json")
        with open(draft, "w", encoding="utf-8") as stream:
            json.dump(program, stream)
        return paddle.inference.create_predictor(make_config(draft, files.params, threads=threads))


def make_config(program: str, params: str, *, threads: int = 1) -> Any:
    """A CPU `Config` with the switches that a `.json` model needs."""
    config = paddle.inference.Config(program, params)
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.enable_new_ir(True)  # without these two, enable_memory_optim fails for .json models
    config.enable_new_executor(True)
    config.enable_memory_optim()
    return config


def _set_threads(program: dict[str, Any], threads: int) -> bool:
    """Write the thread count into our operators; False if there is none.

    Raises:
        ValueError: One does not read the model's input directly.
    """
    ops = ops_of(program)
    inputs = {op["O"][0]["%"] for op in ops if op["#"].endswith(".data")}
    ours = [op for op in ops if NAME in op["#"]]
    for op in ours:
        if op["I"][0]["%"] not in inputs:
            raise ValueError(
                "our operator must read the model's input directly: behind another op, oneDNN would hand "
                "it a blocked layout; convert the whole model."
            )
        for attribute in op["A"]:
            if attribute["N"] == "threads":
                attribute["AT"]["D"] = threads
    return bool(ours)
