# SPDX-License-Identifier: Apache-2.0
"""One net: how much of it the runtime takes, and how near its outputs are to Paddle's."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

CALIBRATED, SEED = 4, 1  # samples; of the inputs that are compared


@dataclass
class Finding:
    """What was found; prints as a row of the table.

    Attributes:
        name: net.
        state: "whole", "parts" or "Paddle" (nothing converted), "failed" or "crashed".
        covered: share of the multiply-adds that are ours, 0 to 1.
        difference: largest difference from Paddle, as a fraction of the largest |output|; of classes, how many differ.
        int8_state: as `state`, of the int8 conversion.
        cosine: smallest cosine of an int8 output and Paddle's; of classes, how many are the same.
        why: what keeps it from being whole.
        seconds: time of both conversions.
    """

    name: str
    state: str = "failed"
    covered: float = 0.0
    difference: float = float("nan")
    int8_state: str = "failed"
    cosine: float = float("nan")
    why: str = ""
    seconds: float = 0.0

    def line(self) -> str:
        return json.dumps(asdict(self))

    def row(self) -> tuple[str, ...]:
        numbers = (f"{self.covered:.1%}", f"{self.difference:.1e}", f"{self.cosine:.4f}")
        return (self.name, self.state, numbers[0], numbers[1], self.int8_state, numbers[2], self.why[:160])


def look(one: Any, folder: Path, *, small: bool, keep: bool = False) -> Finding:
    """Save a net of 75 % zero 1x4 blocks, convert it to float32 and int8, and compare all outputs with Paddle's.

    Args:
        one: an `Architecture`.
        folder: folder of the files.
        small: whether the net is built small.
        keep: whether a net that is there already is taken.
    """
    import paddle
    from architectures.saving import save

    from paddle_unstructured.runtime import Int8, convert

    prefix, found = str(folder / one.name.replace(" ", "_")), Finding(one.name)
    try:
        if not (keep and Path(prefix + ".pdiparams").exists()):
            save(one, prefix, small=small, sparsity=0.75, block=4)
        paddle.enable_static()
        random = np.random.default_rng(SEED)
        names, inputs, expected = reference(prefix, one.samples(random, 2, small=small))
        begun = time.perf_counter()
        table = convert(prefix, prefix + "_fast")
        found.state, found.covered = _state(table), _covered(table)
        found.why = "; ".join(f"{each.count} {each.op}: {each.why}" for each in table.refused) or table.refusal
        found.difference = max(map(_difference, expected, outputs(prefix + "_fast", table, inputs)))
        data = dict(zip(names, one.samples(random, CALIBRATED, small=small)))
        samples = data if len(data) > 1 else next(iter(data.values()))
        table = convert(prefix, prefix + "_bytes", int8=Int8(samples, most_error=1))  # all in int8, whatever it costs
        found.int8_state = _state(table)
        found.cosine = min(map(_cosine, expected, outputs(prefix + "_bytes", table, inputs)))
        found.seconds = time.perf_counter() - begun
    except Exception as error:
        found.why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; {found.why}"
    return found


def reference(prefix: str, inputs: Sequence[np.ndarray]) -> tuple[list[str], Sequence[np.ndarray], list[np.ndarray]]:
    """Names of the inputs, the inputs, and what Paddle's plain kernels make of them."""
    import paddle

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, names, fetches = paddle.static.load_inference_model(prefix, executor)
        found = executor.run(program, feed=dict(zip(names, inputs)), fetch_list=fetches)
    return names, inputs, [np.asarray(each) for each in found]


def outputs(prefix: str, table: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of a converted model: in a Session if it is whole, else in Paddle's Predictor."""
    from paddle_unstructured.runtime import Session, create_predictor

    if table.converted:
        return list(Session(prefix).run(*inputs))
    predictor = create_predictor(prefix)
    for name, each in zip(predictor.get_input_names(), inputs):
        predictor.get_input_handle(name).copy_from_cpu(each)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


def _state(table: Any) -> str:
    parts = len(getattr(table, "parts", ()))
    return "whole" if table.converted else f"{parts} parts" if parts else "Paddle"


def _covered(table: Any) -> float:
    """Of a table that does not know it: all or nothing."""
    return float(getattr(table, "covered", table.converted))


def _difference(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise ValueError(f"{got.dtype} {got.shape} for {expected.dtype} {expected.shape}")
    if expected.dtype.kind in "iub":
        return float((expected != got).mean())
    return float(abs(expected - got).max() / max(abs(expected).max(), 1e-30))


def _cosine(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.dtype.kind in "iub":
        return float((expected == got).mean())
    a, b = expected.ravel().astype("float64"), got.ravel().astype("float64")
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
