# SPDX-License-Identifier: Apache-2.0
"""A trained net as a sparse int8 model: converted, and counted by a Session, which needs no Paddle."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import paddle

from .cells import Setting
from .training import Weights, forward

CALIBRATION = 256  # training images, the first
BATCH = 100


def converted_accuracy(setting: Setting, weights: Weights, train: Any, test: Any) -> float:
    """Fraction of the test images that the converted model gets right."""
    from paddle_unstructured.runtime import Session, convert
    from paddle_unstructured.runtime.int8.options import Int8

    images, _ = train.fetch(np.arange(min(CALIBRATION, len(train))), None)
    with tempfile.TemporaryDirectory() as folder:
        save(setting, weights, f"{folder}/net")
        table = convert(f"{folder}/net", f"{folder}/int8", int8=Int8(images))
        if not table.converted:
            raise RuntimeError(table.refusal)
        session = Session(f"{folder}/int8")
    right = 0
    for first in range(0, len(test), BATCH):
        batch, labels = test.fetch(np.arange(first, min(first + BATCH, len(test))), None)
        right += int((session.run(batch)[0].argmax(1) == labels[:, 0]).sum())
    return right / len(test)


def save(setting: Setting, weights: Weights, path: str) -> None:
    """Write the inference model: with the convolutions that the training Program replaces by products."""
    from paddle_unstructured.export import export

    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        logits = forward(setting, as_product=False)
    for name, array in weights.items():
        scope.var(name).get_tensor().set(array, paddle.CPUPlace())
    export(program, ["image"], [logits], path, scope=scope)
