# SPDX-License-Identifier: Apache-2.0
"""A plugin for pytest that keeps every plan that tests run, with its inputs and outputs, for other processors.

    RECORDED_PLANS=FOLDER pytest -p recorded_plans TESTS

Writes exact.cases (all int8 or bfloat16: every processor makes the same bits) and float32.cases (within 1e-5).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from emulated.plan_files import Case, is_exact, write_cases

from paddle_unstructured.runtime.border import in_order
from paddle_unstructured.runtime.engine import Engine

MOST_FLOAT32 = 1e-5
MOST_BYTES = 4 << 20  # of a case: emulators are slow
_cases: dict[str, Case] = {}


def pytest_configure() -> None:
    create, run = Engine.__init__, Engine.run

    def recorded_create(self, plan, arrays, *, threads=1):
        create(self, plan, arrays, threads=threads)
        self.recorded = (plan, [np.ascontiguousarray(array).copy() for array in arrays], int(threads))

    def recorded_run(self, *inputs):
        outputs = run(self, *inputs)
        _keep(*self.recorded, in_order(self.inputs, inputs), outputs)
        return outputs

    Engine.__init__, Engine.run = recorded_create, recorded_run


def _keep(plan, arrays, threads, inputs, outputs):
    inputs = [np.ascontiguousarray(array).copy() for array in inputs]  # a test may change its own
    if sum(array.nbytes for array in (*arrays, *inputs)) > MOST_BYTES:
        return
    found = hashlib.sha256(plan.encode())
    for array in (*arrays, *inputs):
        found.update(array.tobytes())
    most = 0.0 if is_exact(plan) else MOST_FLOAT32
    _cases.setdefault(found.hexdigest(), Case(plan, arrays, inputs, [array.copy() for array in outputs], most, threads))


def pytest_sessionfinish() -> None:
    folder = Path(os.environ["RECORDED_PLANS"])
    write_cases(folder / "exact.cases", [case for case in _cases.values() if case.most == 0])
    write_cases(folder / "float32.cases", [case for case in _cases.values() if case.most != 0])
