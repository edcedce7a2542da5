# SPDX-License-Identifier: Apache-2.0
"""The training Program and the test Program of one classifier, on the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import paddle
from models import build_model
from paddle.static import Program

from paddle_unstructured import distributed, test_program
from paddle_unstructured.training import quantization_aware

FEEDS = ("image", "label")


@dataclass(frozen=True)
class Classifier:
    """Programs and what to fetch from them.

    `metrics` are (loss, top-1, top-5) of one training batch, averaged over it;
    `image` → `logits`, `probabilities` is what the test Program computes and what an inference model needs;
    `quantized` is what has been made of it to compute in 8 bits, if it does.
    """

    train: Program
    startup: Program
    test: Program
    metrics: tuple
    image: paddle.pir.Value
    logits: paddle.pir.Value
    probabilities: paddle.pir.Value
    quantized: quantization_aware.QuantizationAware | None = None


def measure(logits: paddle.pir.Value, classes: int) -> tuple:
    """Append loss, top-1 and top-5 accuracy of logits [n, classes] to the current Program."""
    label = paddle.static.data(FEEDS[1], [None, 1], "int64")
    loss = paddle.nn.functional.cross_entropy(logits, label)
    return (loss, *(paddle.metric.accuracy(logits, label, k=min(k, classes)) for k in (1, 5)))


def build_classifier(
    name: str,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    width: float = 1.0,
    optimizer: paddle.optimizer.Optimizer | None = None,
    teach: Callable | None = None,
    quantize_aware: bool = False,
) -> Classifier:
    """Build the Programs; weight names depend on the model only, so that files fit across runs.

    Args:
        name: one of `models.MODELS`.
        image_shape: (channels, height, width) of one image.
        classes: number of classes.
        width: channel multiplier, MobileNet only.
        optimizer: minimises the loss of the training Program; None leaves it without optimizer ops.
        teach: (loss, logits) → the loss to minimise, with a teacher's part in it.
        quantize_aware: compute with 8-bit weights and activations, in both Programs.
    """
    train, startup = Program(), Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(train, startup):
        image = paddle.static.data(FEEDS[0], [None, *image_shape], "float32")
        logits = build_model(name, image_shape=image_shape, classes=classes, width=width)(image)
        test, (test_image, test_logits) = test_program(train, [image, logits])
        quantized = None
        if quantize_aware:
            quantization_aware.quantize_aware(train)
            quantized = quantization_aware.quantize_aware(test, training=False)
        metrics = measure(logits, classes)
        if optimizer is not None:
            distributed.minimize(optimizer, teach(metrics[0], logits) if teach else metrics[0])
    with paddle.static.program_guard(test):
        probabilities = paddle.nn.functional.softmax(test_logits)
    return Classifier(train, startup, test, metrics, test_image, test_logits, probabilities, quantized)


def parameters(program: Program) -> dict[str, tuple[int, ...]]:
    """Return name → shape of all that a Program reads from the scope; a learning rate is none of the model's."""
    found = program.global_block().all_parameters()
    return {p.name: tuple(p.shape) for p in found if not p.name.startswith("learning_rate")}
