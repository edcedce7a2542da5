# SPDX-License-Identifier: Apache-2.0
"""One training run, the same code for legacy Programs (PaddleSlim's environment) and PIR (ours)."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path
from typing import Any, Callable, Protocol, Sequence

import numpy as np
import paddle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))
from data import SPECS, load_source  # noqa: E402
from models import MobileNet, build_model  # noqa: E402
from models.resnet import Basic, conv_bn  # noqa: E402

from .cells import Setting  # noqa: E402

Weights = dict  # name -> array


class Side(Protocol):
    """What a pruner does in a training run, by the order of its calls."""

    def loss(self, loss: Any, logits: Any, net: Net) -> Any: ...
    def before_minimize(self, net: Net) -> set: ...
    def after_load(self, net: Net) -> None: ...
    def step(self) -> None: ...
    def before_test(self) -> None: ...
    def finish(self, net: Net, accuracy: float, train: Any, test: Any) -> dict: ...


class Dense:
    """No pruning."""

    def loss(self, loss: Any, logits: Any, net: Net) -> Any:
        return loss

    def before_minimize(self, net: Net) -> set:
        return set()

    def after_load(self, net: Net) -> None:
        pass

    def step(self) -> None:
        pass

    def before_test(self) -> None:
        pass

    def finish(self, net: Net, accuracy: float, train: Any, test: Any) -> dict:
        """What is found out in the end, beside the test accuracy or instead of it."""
        return {}


class Net:
    """A classifier's training Program and test Program in the global scope, and what trains it.

    Args:
        setting: The net and its data.
        steps: Of the whole run; the learning rate is annealed over them.
        side: Whose pruner.
        start: Weights to start from, or None; the side sees them too (a teacher has them).
        seed: Of the initial weights.
        peak: The highest learning rate.
    """

    def __init__(self, setting: Setting, steps: int, side: Side, start: Weights | None, seed: int, peak: float) -> None:
        self.setting, self.steps, self.side, self.start = setting, steps, side, start
        self.exe, self.place = paddle.static.Executor(paddle.CPUPlace()), paddle.CPUPlace()
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        paddle.seed(seed)
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.program, self.startup):
            self.logits = forward(setting)
            self.test, (self.test_logits,) = for_test(self.program, [self.logits])
            label = paddle.static.data("label", [None, 1], "int64")
            self.loss = side.loss(paddle.nn.functional.cross_entropy(self.logits, label), self.logits, self)
            self.rate = paddle.optimizer.lr.LambdaDecay(peak, self.cosine)
            decay = paddle.regularizer.L2Decay(setting.l2)
            optimizer = paddle.optimizer.Momentum(self.rate, 0.9, weight_decay=decay)
            optimizer.minimize(self.loss, no_grad_set=side.before_minimize(self))
        self.names = [value.name for value in parameters(self.test)]
        self.exe.run(self.startup)
        if start is not None:
            self.put(start)
        side.after_load(self)

    def cosine(self, step: int) -> float:
        return (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2

    def put(self, weights: Weights) -> None:
        for name in self.names:
            paddle.static.global_scope().find_var(name).get_tensor().set(weights[name], self.place)

    def weights(self) -> Weights:
        scope = paddle.static.global_scope()
        return {name: np.array(scope.find_var(name).get_tensor()) for name in self.names}

    def train(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One step; returns the loss of the batch."""
        feed = {"image": images, "label": labels}
        loss = self.exe.run(self.program, feed=feed, fetch_list=[self.loss])[0]
        self.side.step()
        self.rate.step()
        return float(loss)

    def accuracy(self, source: Any, batch: int = 500) -> float:
        """Fraction of a source's images that the test Program gets right."""
        self.side.before_test()
        right = 0
        for first in range(0, len(source), batch):
            images, labels = source.fetch(np.arange(first, min(first + batch, len(source))), None)
            logits = self.exe.run(self.test, feed={"image": images}, fetch_list=[self.test_logits])[0]
            right += int((logits.argmax(1) == labels[:, 0]).sum())
        return right / len(source)

    def zeros(self) -> tuple[int, int]:
        """Zeros among the stored weights, and how many these are; biases and norms (vectors) do not count."""
        matrices = [array for array in self.weights().values() if array.ndim > 1]
        return sum(int((array == 0).sum()) for array in matrices), sum(array.size for array in matrices)


def forward(setting: Setting, as_product: bool = True) -> Any:
    """The logits for the input "image"; `as_product`: depthwise convolutions in the form that trains faster."""
    shape = SPECS[setting.data].image_shape
    image = paddle.static.data("image", [None, *shape], "float32")
    if setting.model == "ResNet18":
        return small_resnet(shape[0], setting.width)(image)
    if setting.strides:
        net = MobileNet(shape[0], 10, width=setting.width, strides=setting.strides)
        for layer in net.sublayers() if as_product else ():
            if isinstance(layer, paddle.nn.Conv2D) and layer.weight.shape[1] < layer._in_channels:
                layer.forward = functools.partial(depthwise, layer)
        return net(image)
    return build_model(setting.model, image_shape=shape, classes=10, width=setting.width)(image)


def small_resnet(channels: int, width: float) -> Any:
    """ResNet-18 with so much of its channels, and a 3x3 convolution of stride 2 as its stem."""
    inputs = int(64 * width)
    layers = [conv_bn(channels, inputs, 3, 2), paddle.nn.ReLU()]
    for outputs in (int(full * width) for full in (64, 128, 256, 512)):
        layers += [Basic(inputs, outputs, 1 if outputs == inputs else 2), Basic(outputs, outputs, 1)]
        inputs = outputs
    return paddle.nn.Sequential(
        *layers, paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), paddle.nn.Linear(inputs, 10)
    )


def depthwise(layer: Any, x: Any) -> Any:
    """A 3x3 convolution per channel as a product with the unfolded image, [c, 1, 9] x [n, c, 9, p].

    Paddle's own kernel for it, on a CPU, takes five times as long for the 4x4 planes and smaller of these nets.
    """
    (channels, _, side, _), stride = layer.weight.shape, layer._stride[0]
    size = (x.shape[2] + 2 * (side // 2) - side) // stride + 1
    patches = paddle.nn.functional.unfold(x, side, stride, side // 2).reshape([-1, channels, side * side, size**2])
    return (layer.weight.reshape([1, channels, 1, side * side]) @ patches).reshape([-1, channels, size, size])


def for_test(program: Any, answers: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The Program with BatchNorm in test mode, and some values in it."""
    if hasattr(program, "all_parameters"):  # legacy
        test = program.clone(for_test=True)
        return test, [test.global_block().var(answer.name) for answer in answers]
    mapping = paddle.pir.IrMapping()
    test = program.clone(mapping)
    for op in test.global_block().ops:
        if op.has_attr("is_test"):
            op.set_bool_attr("is_test", True)
    return test, [mapping.look_up(answer) for answer in answers]


def parameters(program: Any) -> list[Any]:
    return (program if hasattr(program, "all_parameters") else program.global_block()).all_parameters()


def load(setting: Setting, data_dir: str | None) -> tuple[Any, Any]:
    """The training images (the first `setting.images`, not augmented) and the test images."""
    return tuple(load_source(setting.data, data_dir, split) for split in ("train", "test"))


def steps_of(setting: Setting, source: Any, epochs: int) -> int:
    return epochs * ((setting.images or len(source)) // setting.batch)


def order(setting: Setting, source: Any, seed: int, epoch: int) -> np.ndarray:
    """Indices of the epoch's batches, [steps, batch], the same under every numpy (RandomState's stream is frozen)."""
    count = setting.images or len(source)
    steps = count // setting.batch
    shuffled = np.random.RandomState(1000 * seed + epoch).permutation(count)
    return shuffled[: steps * setting.batch].reshape(steps, setting.batch)


def run(net: Net, train: Any, seed: int, epochs: int, tell: Callable[[int, float], None]) -> None:
    """Train for some epochs; `tell` gets (steps done, loss) after each step."""
    done = 0
    for epoch in range(epochs):
        for indices in order(net.setting, train, seed, epoch):
            loss = net.train(*train.fetch(indices, None))
            done += 1
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {done}")
            tell(done, loss)
