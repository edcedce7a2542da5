# SPDX-License-Identifier: Apache-2.0
"""Small nets that are trained here once and kept as inference models: four on Fashion-MNIST, one on sentences.

The sentences are those of scikit-learn's docstrings, and the question is which of its modules one is from: real text
that needs no download. Their number depends on the version of scikit-learn that is installed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

MODULES = ("metrics", "linear_model", "ensemble", "cluster", "decomposition", "preprocessing", "model_selection")
WORDS, LENGTH = 2048, 24  # of the vocabulary; of a sentence, in tokens
BATCH = 128


@dataclass(frozen=True)
class Split:
    """Inputs [n, ...] and labels [n]."""

    inputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DenseNet:
    """How a net is made.

    Attributes:
        build: () -> the net; inputs [n, ...] -> logits [n, classes].
        epochs, rate: of its training, by AdamW with one cycle.
        text: whether it reads sentences.
        batch: samples of a step.
    """

    build: Callable[[], nn.Layer]
    epochs: int
    rate: float
    text: bool = False
    batch: int = BATCH


class Transformer(nn.Layer):
    """Encoder of patches or words, with the mean of all tokens as its answer.

    Args:
        embed: inputs -> [n, tokens, 64].
        tokens: their number.
        classes: number of logits.
        depth: blocks.
    """

    def __init__(self, embed: nn.Layer, tokens: int, classes: int, depth: int):
        super().__init__()
        self.embed = embed
        self.position = self.create_parameter([1, tokens, 64], default_initializer=nn.initializer.Normal(std=0.02))
        self.blocks = nn.LayerList([Block() for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, classes)

    def forward(self, x: Any) -> Any:
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Block(nn.Layer):
    """Attention of four heads and a layer of 128, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(64), nn.LayerNorm(64)
        self.q, self.k, self.v, self.out = (nn.Linear(64, 64) for _ in range(4))
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        q, k, v = (layer(h).reshape([0, 0, 4, 16]).transpose([0, 2, 1, 3]) for layer in (self.q, self.k, self.v))
        mixed = nn.functional.softmax(q @ k.transpose([0, 1, 3, 2]) / 4.0) @ v
        x = x + self.out(mixed.transpose([0, 2, 1, 3]).reshape([0, 0, 64]))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class Patches(nn.Layer):
    """7x7 pixels -> a token."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(1, 64, 7, 7)

    def forward(self, x: Any) -> Any:
        return self.conv(x).flatten(2).transpose([0, 2, 1])


def small_resnet() -> nn.Layer:
    """Three blocks of 16, 32 and 64 channels behind a 3x3 convolution of stride 2."""
    from models.resnet import Basic, conv_bn

    blocks = [Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 64, 2)]
    return nn.Sequential(
        conv_bn(1, 16, 3, 2), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(64, 10)
    )


def _lenet() -> nn.Layer:
    from models import LeNet

    return LeNet(1, 28, 10)


def _mobilenet() -> nn.Layer:
    from models import MobileNet

    return MobileNet(1, 10, width=0.25, strides=(2, 1, 2, 2, 2))


NETS = {
    "LeNet": DenseNet(_lenet, 3, 0.002),
    "ResNet-8": DenseNet(small_resnet, 2, 0.005),
    "MobileNetV1 0.25": DenseNet(_mobilenet, 1, 0.005),
    "ViT-tiny": DenseNet(lambda: Transformer(Patches(), 16, 10, 4), 2, 0.002),
    "sentences": DenseNet(lambda: Transformer(nn.Embedding(WORDS, 64), LENGTH, len(MODULES), 2), 6, 0.002, text=True),
}


def data_for(net: DenseNet, folder: str | None) -> tuple[Split, Split]:
    """What a net is trained and tested on."""
    if net.text:
        return sentences()
    from data import load_source

    splits = []
    for part in ("train", "test"):
        source = load_source("fashion_mnist", folder, part)
        inputs, labels = source.fetch(np.arange(len(source)), None)
        splits.append(Split(inputs, labels.ravel()))
    return splits[0], splits[1]


def sentences() -> tuple[Split, Split]:
    """Sentences of docstrings as int64 [n, 24]; every fifth is for testing. 0 stands for no word, 1 for a rare one."""
    import sklearn

    found: dict[str, tuple[list[str], int]] = {}
    for label, module in enumerate(MODULES):
        for file in sorted((Path(sklearn.__file__).parent / module).rglob("*.py")):
            if "tests" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
                    for sentence in re.split(r"\n\s*\n|(?<=\.)\s+", ast.get_docstring(node) or ""):
                        words = re.findall(r"[a-z_]+|\d+|[^\s\w]", sentence.lower())
                        if len(words) >= 6:
                            found.setdefault(" ".join(words), (words, label))
    known = Counter(word for words, _ in found.values() for word in words).most_common(WORDS - 2)
    number = {word: i for i, (word, _) in enumerate(known, 2)}
    inputs = np.zeros((len(found), LENGTH), np.int64)
    for row, (words, _) in zip(inputs, found.values()):
        row[: len(words)] = [number.get(word, 1) for word in words[:LENGTH]]
    labels = np.array([label for _, label in found.values()])
    order = np.random.default_rng(0).permutation(len(inputs))
    test = np.arange(len(order)) % 5 == 0
    return Split(inputs[order][~test], labels[order][~test]), Split(inputs[order][test], labels[order][test])


def trained(name: str, seed: int, train: Split, folder: Path, net: DenseNet | None = None) -> Path:
    """The prefix of the inference model of a net, one of NETS if none is given; it is trained if it is not there."""
    prefix = folder / f"{name.replace(' ', '_')}_{seed}" / "model"
    if not prefix.with_suffix(".pdiparams").is_file():
        _train(net or NETS[name], seed, train, prefix)
    return prefix


def _train(net: DenseNet, seed: int, train: Split, prefix: Path) -> None:
    from paddle_unstructured import test_program

    paddle.seed(seed)
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    steps = net.epochs * (len(train.inputs) // net.batch)
    rate = paddle.optimizer.lr.OneCycleLR(net.rate, steps)
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [None, *train.inputs.shape[1:]], str(train.inputs.dtype))
        label = paddle.static.data("label", [None, 1], "int64")
        logits = net.build()(x)
        test, (test_x, test_logits) = test_program(program, [x, logits])
        loss = nn.functional.cross_entropy(logits, label)
        paddle.optimizer.AdamW(rate, weight_decay=0.01).minimize(loss)
    executor, random = paddle.static.Executor(), np.random.default_rng(seed)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with paddle.static.scope_guard(scope):
        executor.run(startup)
        for _ in range(net.epochs):
            order = random.permutation(len(train.inputs))
            for i in range(len(order) // net.batch):
                rows = order[i * net.batch : (i + 1) * net.batch]
                executor.run(program, feed={"x": train.inputs[rows], "label": train.labels[rows, None]})
                rate.step()
        paddle.static.save_inference_model(str(prefix), [test_x], [test_logits], executor, program=test)


def right(model: Any, test: Split) -> float:
    """Part of the test set that a model answers rightly."""
    inputs, hits = test.inputs, 0
    for i in range(0, len(inputs), 500):
        (found,) = model.run(**{model.feeds[0]: inputs[i : i + 500]})
        hits += int((found.argmax(1) == test.labels[i : i + 500]).sum())
    return hits / len(inputs)
