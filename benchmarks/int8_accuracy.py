# SPDX-License-Identifier: Apache-2.0
"""int8 of nets with hard-swish, squeeze and excite and depthwise layers: accuracy, beside ONNX Runtime's static QDQ.

    python benchmarks/int8_accuracy.py FOLDER [--steps 400] [--samples 256] [--only MobileNetV3]

Trains MobileNetV3-small, PP-LCNet x0.25 and a GhostNet x0.25 on Fashion-MNIST (unless FOLDER has them), then quantizes
each in several ways on the same training images and counts all test images. "same" is how often the first answer is
that of float32; ONNX Runtime quantizes per channel, its activations by minimum and maximum, as ours by default.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
from top1 import batches, test_set

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
BATCH, RATE, SEED = 128, 0.08, 0
CHOICES: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, no bias correction": {"correct_bias": False},
    "ours, `mse`": {"calibration": "mse"},
    "ours, `percentile`": {"calibration": "percentile"},
    "ours, `--equalize`": {"equalize": True},
    "ours, `--most-error 0.05`": {"most_error": 0.05},
    "ours, `--most-error 0.02`": {"most_error": 0.02},
}


def nets() -> dict[str, Callable[[], Any]]:
    """For images of 1 x 28 x 28 and 10 classes."""
    from architectures.classifiers import SMALL, GhostNet, LCNet, MobileNetV3

    small: dict[str, Any] = {"classes": 10, "images": 1}
    return {
        "MobileNetV3-small": lambda: MobileNetV3(SMALL, **small),
        "PP-LCNet-x0.25": lambda: LCNet(0.25, **small),
        "GhostNet-x0.25": lambda: GhostNet(0.25, **small),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where trained nets are kept")
    parser.add_argument("--steps", type=int, default=400, help="steps of training, 128 images each (default: 400)")
    parser.add_argument("--samples", type=int, default=256, help="training images to calibrate on (default: 256)")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where it usually is")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, build in nets().items():
        if args.only in name:
            prefix = str(args.folder / name)
            if not Path(prefix + ".pdiparams").exists():
                train(name, build, prefix, args)
            table(name, prefix, args)


def train(name: str, build: Callable[[], Any], prefix: str, args: argparse.Namespace) -> None:
    """Momentum, a cosine, images mirrored at random; saved as an inference model."""
    import paddle
    import paddle.nn.functional as F
    from data import load_source

    paddle.disable_static()
    paddle.seed(SEED)
    random, source = np.random.default_rng(SEED), load_source("fashion_mnist", args.data_dir, "train")
    net, steps = build(), args.steps
    depthwise = [each for each in net.sublayers() if getattr(each, "_groups", 1) > 1]
    for layer in depthwise:
        layer.forward = partial(by_columns, layer)
    rate = paddle.optimizer.lr.LinearWarmup(
        paddle.optimizer.lr.CosineAnnealingDecay(RATE, steps), steps // 10 + 1, 0.0, RATE
    )
    optimizer = paddle.optimizer.Momentum(rate, 0.9, parameters=net.parameters(), weight_decay=3e-5)
    begun, order = time.time(), random.permutation(len(source))
    for step in range(steps):
        images, labels = source.fetch(np.take(order, range(step * BATCH, (step + 1) * BATCH), mode="wrap"), None)
        flip = random.random(len(images)) < 0.5
        images = np.where(flip[:, None, None, None], images[..., ::-1], images)
        loss = F.cross_entropy(net(paddle.to_tensor(images)), paddle.to_tensor(labels.reshape(-1, 1)))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        rate.step()
        if step % 50 == 49:
            print(f"{name} {step + 1}/{steps} loss {float(loss):.3f} {time.time() - begun:.0f} s", file=sys.stderr)
    for layer in depthwise:
        del layer.forward
    net.eval()
    paddle.jit.save(net, prefix, input_spec=[paddle.static.InputSpec([-1, 1, 28, 28], "float32")])


def table(name: str, prefix: str, args: argparse.Namespace) -> None:
    """Top-1 of float32 and of every way to int8, and how often the first answer is float32's."""
    import paddle
    from covered.rival_files import to_onnx, to_qdq
    from data import load_source
    from speed.rivals import onnxruntime

    from paddle_unstructured.runtime import Int8, Session, convert

    paddle.enable_static()
    images, labels = test_set("fashion_mnist", args.data_dir)
    samples, _ = load_source("fashion_mnist", args.data_dir, "train").fetch(np.arange(args.samples), None)

    def answers(run: Callable[..., Any]) -> np.ndarray:
        return np.concatenate([run(x)[0].argmax(1) for x, _ in batches(images, labels)])

    def row(how: str, found: np.ndarray, note: str = "") -> None:
        right, same = (found == labels).mean(), (found == exact).mean()
        print(f"| {name} | {how} | {right:.2%} | {same:.2%} | {note} |", flush=True)

    convert(prefix, prefix + "_fast")
    exact = answers(Session(prefix + "_fast").run)
    print("| net | how | top-1 | same as float32 | layers in float32 |\n|---|---|---|---|---|")
    row("float32", exact)
    for how, choice in CHOICES.items():
        found = convert(prefix, prefix + "_bytes", int8=Int8(samples, **choice))
        outside = sum(each.kernel.startswith("fp32") for each in found.choices)
        row(how, answers(Session(prefix + "_bytes").run), f"{outside} of {len(found.choices)}")
    to_onnx(prefix, prefix + ".onnx")
    row("ONNX Runtime float32", answers(onnxruntime(prefix + ".onnx", 1)))
    to_qdq(prefix + ".onnx", prefix + "_qdq.onnx", [{"x": x[None]} for x in samples])
    row("ONNX Runtime int8 (QDQ)", answers(onnxruntime(prefix + "_qdq.onnx", 1)))


def by_columns(layer: Any, x: Any) -> Any:
    """One filter per channel as a product with columns: half the time of Paddle's own depthwise gradient on a CPU."""
    import paddle.nn.functional as F

    kernel, (n, channels, height, width) = layer._kernel_size, x.shape
    stride, padding = np.broadcast_to(layer._stride, 2).tolist(), np.broadcast_to(layer._padding, 2).tolist()
    size = [(h + 2 * p - k) // s + 1 for h, p, k, s in zip((height, width), padding, kernel, stride)]
    columns = F.unfold(x, kernel, stride, padding).reshape([n, channels, kernel[0] * kernel[1], -1])
    return (columns * layer.weight.reshape([1, channels, -1, 1])).sum(2).reshape([n, channels, *size])


if __name__ == "__main__":
    main()
