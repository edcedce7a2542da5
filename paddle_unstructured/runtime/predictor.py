# SPDX-License-Identifier: Apache-2.0
"""`create_predictor`: Paddle's own Predictor for a converted model, with the flags set that are traps otherwise."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import paddle

from ..arguments import StrPath, whole
from ..formats import pair
from ..formats.pdiparams import read, scan
from ..formats.pir_json import all_ops, norms_of, ops_of, ranks_of, read_program, reads_of, share_params
from ..formats.scratch import scratch
from ..inference import make_config, overwrites, reason, without_onednn
from ..saved_model import Files, find_model
from .engine import MOST_THREADS, Engine
from .operator import register
from .session import Operator, is_ours, loses_layout, operators

_LOG = logging.getLogger(__name__)


def create_predictor(path: StrPath, *, threads: int = 1) -> Any:
    """Open a converted model (or any inference model) in Paddle's Predictor, on the CPU.

    What Paddle's Predictor does wrong by default is put right: a variable that two recurrent layers share, a oneDNN
    pass with wrong numbers, interpolations on which oneDNN fails, and models that it cannot open (these run without it;
    that is logged).

    Args:
        path: The prefix of its two files.
        threads: threads of our kernels and of Paddle's.

    Returns:
        A `paddle.inference.Predictor`.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: `threads` is not in [1, 256]; a file is damaged; or another op stands before our operator with
            oneDNN on, whose layout it could not read.
        BuildError: The operator must be compiled once, and cannot be.

    Example:
        >>> predictor = create_predictor("runs/gmp90/fast", threads=2)  # doctest: +SKIP
        >>> probabilities, = predictor.run([paddle.to_tensor(images)])  # doctest: +SKIP
    """
    whole("threads", threads, least=1, most=MOST_THREADS)
    files = find_model(path)
    if files.kind != "inference":
        raise ValueError(
            f"`path` must be an inference model (.json and .pdiparams), got a {files.kind} model at {path}."
        )
    program = read_program(files.program)
    scan(files.params, files.program)  # Paddle does not notice every file that is cut short, and crashes on some
    pair.check(files.program, files.params)
    changed = share_params(program)
    if _set_threads(program, threads):
        changed = True
        register()
        for ours in operators(program, files.program):
            _check(ours, files)
    kinds = {op["#"].split(".")[-1].rstrip("_") for op in all_ops(program)}
    failing = without_onednn(kinds, ranks_of(program), norms_of(program)) or loses_layout(program)
    if failing:
        _LOG.warning("%s runs without oneDNN, since Paddle's own fails on %s.", path, " and ".join(failing))
    with scratch() as folder:  # the weights stay where they are
        draft = files.program
        if changed:
            draft = os.path.join(folder, "model.json")
            with open(draft, "w", encoding="utf-8") as stream:
                json.dump(program, stream)
        faults, in_place = list[Exception](), not overwrites(reads_of(program))
        for onednn in (False,) if failing else (True, False):
            config = make_config(draft, files.params, threads=threads, onednn=onednn, kinds=kinds, in_place=in_place)
            try:
                predictor = paddle.inference.create_predictor(config)
            except Exception as error:  # of any kind that Paddle's C++ comes to Python with
                faults.append(error)
                continue
            if faults:
                _LOG.warning("%s runs without oneDNN, with which Paddle cannot open it: %s", path, reason(faults[0]))
            return predictor
    raise ValueError(
        f"{files.program} with {files.params} cannot be opened by paddle.inference on this CPU: "
        f"{reason(faults[0])}; save or copy the model again if it is damaged."
    ) from faults[0]


def _check(ours: Operator, files: Files) -> None:
    """Raise ValueError unless the engine takes plan and parameters; Paddle would only say "std::exception"."""
    tensors = {tensor.name: tensor for tensor in scan(files.params, files.program)}
    missing = [name for name in ours.params if name not in tensors]
    if missing:
        raise ValueError(
            f"{files.params} must hold {missing[0]}, which {files.program} reads; convert the model again."
        )
    try:
        Engine(ours.plan, [read(files.params, tensors[name]) for name in ours.params])
    except ValueError as error:
        raise ValueError(f"{files.params} and {files.program}: {error}") from None


def _set_threads(program: dict[str, Any], threads: int) -> bool:
    """Write the thread count into our operators; False if there is none.

    Raises:
        ValueError: One does not read the model's input directly.
    """
    ops = ops_of(program)
    plain = {op["O"][0]["%"] for op in ops if op["#"] in ("1.data", "1.assign")}
    lists = {op["O"][0]["%"]: [each["%"] for each in op["I"]] for op in ops if op["#"].endswith(".combine")}
    ours = [op for op in ops if is_ours(op)]
    for op in ours:
        first = op["I"][0]["%"]
        if not plain.issuperset(lists.get(first, [first])):
            raise ValueError(
                "our operator must read the model's inputs directly, or through an assign: behind another op, oneDNN "
                "would hand it a blocked layout; convert the model again."
            )
        for attribute in op["A"]:
            if attribute["N"] == "threads":
                attribute["AT"]["D"] = threads
    return bool(ours)
