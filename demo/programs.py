# SPDX-License-Identifier: Apache-2.0
"""The training Program and the test Program of one net, on the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import paddle
from detection import Detection, choose
from models import build_model
from paddle.static import Program
from tasks import Classification, Task

from paddle_unstructured import distributed, test_program
from paddle_unstructured.training import quantization_aware

IMAGE = "image"


@dataclass(frozen=True)
class Trained:
    """Programs and what to fetch from them.

    `metrics` are the loss and the task's metrics of one training batch, averaged over it;
    `image` → `outputs`, `answers` is what the test Program computes and what an inference model needs;
    `found`, of detectors, are their boxes and scores before NMS;
    `quantized` is what has been made of the test Program to compute in 8 bits, if it does.
    """

    train: Program
    startup: Program
    test: Program
    metrics: tuple
    task: Task
    image: paddle.pir.Value
    outputs: tuple[paddle.pir.Value, ...]
    answers: tuple[paddle.pir.Value, ...]
    found: tuple[paddle.pir.Value, ...] = ()
    quantized: quantization_aware.QuantizationAware | None = None

    @property
    def feeds(self) -> tuple[str, ...]:
        """Names of what a training batch has, in the order of a loader."""
        return (IMAGE, *(label.name for label in self.task.labels))


def build_net(
    name: str,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    task: Task | None = None,
    width: float = 1.0,
    optimizer: paddle.optimizer.Optimizer | None = None,
    teach: Callable | None = None,
    quantize_aware: bool = False,
) -> Trained:
    """Build the Programs; weight names depend on the model only, so that files fit across runs.

    Args:
        name: one of `models.MODELS`.
        image_shape: (channels, height, width) of one image.
        classes: number of classes.
        task: what it is trained for; default: to classify images.
        width: channel multiplier, of `models.SCALABLE` only.
        optimizer: minimises the loss of the training Program; None leaves it without optimizer ops.
        teach: (loss, outputs) → the loss to minimise, with a teacher's part in it.
        quantize_aware: compute with 8-bit weights and activations, in both Programs.
    """
    task = task or Classification(classes)
    train, startup = Program(), Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(train, startup):
        image = paddle.static.data(IMAGE, [None, *image_shape], "float32")
        outputs = build_model(name, image_shape=image_shape, classes=classes, width=width)(image)
        several = isinstance(outputs, (list, tuple))
        test, (test_image, *tested) = test_program(train, [image, *outputs] if several else [image, outputs])
        quantized = None
        if quantize_aware:
            quantization_aware.quantize_aware(train)
            quantized = quantization_aware.quantize_aware(test, training=False)
        labels = [paddle.static.data(label.name, [None, *label.shape], label.dtype) for label in task.labels]
        metrics = task.measure(outputs, labels)
        if optimizer is not None:
            distributed.minimize(optimizer, teach(metrics[0], outputs) if teach else metrics[0])
    with paddle.static.program_guard(test):
        given = tested if several else tested[0]
        found = task.found(given) if isinstance(task, Detection) else ()
        answers = choose(*found) if found else task.answers(given)
    return Trained(train, startup, test, metrics, task, test_image, tuple(tested), answers, found, quantized)


def parameters(program: Program) -> dict[str, tuple[int, ...]]:
    """Return name → shape of all that a Program reads from the scope; a learning rate is none of the model's."""
    found = program.global_block().all_parameters()
    return {p.name: tuple(p.shape) for p in found if not p.name.startswith("learning_rate")}
