# SPDX-License-Identifier: Apache-2.0
"""Trains the nets of int8_accuracy.py on Fashion-MNIST: MobileNetV3-small, PP-LCNet x0.25 and a GhostNet x0.25.

    python benchmarks/int8_trained.py FOLDER [--only MobileNetV3] [--seeds 2] [--minutes 12]

Writes FOLDER/NAME-SEED.json and .pdiparams. Stops after so many minutes, and goes on from there when run again; exit
code 3 while nets are missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
BATCH, RATE, DECAY = 32, 0.002, 0.02
MOMENTUM = 0.98  # of running means: 32 images tell less than the 256 of a large batch


class Trained(NamedTuple):
    build: Callable[[], Any]
    steps: int


def nets() -> dict[str, Trained]:
    """For images of 1 x 28 x 28 and 10 classes."""
    from architectures.classifiers import SMALL, GhostNet, LCNet, MobileNetV3

    small: dict[str, Any] = {"classes": 10, "images": 1}
    return {
        "PP-LCNet-x0.25": Trained(lambda: LCNet(0.25, **small), 2000),
        "GhostNet-x0.25": Trained(lambda: GhostNet(0.25, **small), 1500),
        "MobileNetV3-small": Trained(lambda: MobileNetV3(SMALL, **small), 400),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where trained nets are kept")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("--seeds", type=int, default=1, help="how many of each net (default: 1)")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where it usually is")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    until = time.time() + 60 * args.minutes
    wanted = [(name, net, seed) for seed in range(args.seeds) for name, net in nets().items() if args.only in name]
    for name, net, seed in wanted:
        prefix = args.folder / f"{name}-{seed}"
        if not prefix.with_name(f"{prefix.name}.pdiparams").exists() and time.time() < until:
            train(net, str(prefix), seed, until, args.data_dir)
    missing = [name for name, _, seed in wanted if not (args.folder / f"{name}-{seed}.pdiparams").exists()]
    return 3 if missing else 0


def train(trained: Trained, prefix: str, seed: int, until: float, data_dir: str | None) -> None:
    """AdamW, a cosine with a warm-up, images mirrored at random; saved as an inference model when it is done.

    Every step's images and mirrors follow from the seed and the step, so that a training in pieces is the same one.
    """
    import paddle
    import paddle.nn.functional as F
    from data import load_source

    paddle.disable_static()
    paddle.seed(seed)
    source, net, steps = load_source("fashion_mnist", data_dir, "train"), trained.build(), trained.steps
    depthwise = [each for each in net.sublayers() if getattr(each, "_groups", 1) > 1]
    for layer in depthwise:
        layer.forward = partial(by_matrix, layer)
    for layer in net.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = MOMENTUM
    optimizer = paddle.optimizer.AdamW(RATE, parameters=net.parameters(), weight_decay=DECAY)
    begun, first = time.time(), _resume(prefix, net, optimizer)
    for step in range(first, steps):
        epoch, place = divmod(step, len(source) // BATCH)
        order = np.random.default_rng([seed, epoch]).permutation(len(source))
        images, labels = source.fetch(order[place * BATCH : (place + 1) * BATCH], None)
        flip = np.random.default_rng([seed, step, 1]).random(len(images)) < 0.5
        images = np.where(flip[:, None, None, None], images[..., ::-1], images)
        optimizer.set_lr(RATE * min(1, (step + 1) / (0.1 * steps)) * 0.5 * (1 + np.cos(np.pi * step / steps)))
        loss = F.cross_entropy(net(paddle.to_tensor(images)), paddle.to_tensor(labels.reshape(-1, 1)))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if step % 100 == 99:
            print(f"{prefix} {step + 1}/{steps} loss {float(loss):.3f} {time.time() - begun:.0f} s", file=sys.stderr)
        if time.time() > until:
            state = {"step": step + 1, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
            paddle.save(state, prefix + ".pdckpt")
            return
    for layer in depthwise:
        del layer.forward
    net.eval()
    paddle.jit.save(net, prefix, input_spec=[paddle.static.InputSpec([-1, 1, 28, 28], "float32")])
    Path(prefix + ".pdckpt").unlink(missing_ok=True)


def _resume(prefix: str, net: Any, optimizer: Any) -> int:
    """The step to go on from."""
    import paddle

    if not Path(prefix + ".pdckpt").exists():
        return 0
    state = paddle.load(prefix + ".pdckpt")
    net.set_state_dict(state["net"])
    optimizer.set_state_dict(state["optimizer"])
    return int(state["step"])


def by_matrix(layer: Any, x: Any) -> Any:
    """One filter per channel as a matrix per channel, [input pixels, output pixels].

    Of small planes, 5 to 100 times as fast as Paddle's own depthwise gradient on a CPU.
    """
    import paddle

    n, channels, height, width = x.shape
    kernel, stride, pad = layer._kernel_size[0], layer._stride[0], layer._updated_padding[0]
    places = paddle.to_tensor(_places(kernel, stride, pad, height, width))
    taps = layer.weight.reshape([channels, -1])
    matrix = paddle.matmul(taps, places.reshape([taps.shape[1], -1])).reshape([channels, *places.shape[1:]])
    made = paddle.matmul(x.reshape([n, channels, -1]).transpose([1, 0, 2]), matrix)  # [channels, n, output pixels]
    side = (height + 2 * pad - kernel) // stride + 1
    return made.transpose([1, 0, 2]).reshape([n, channels, side, -1])


@cache
def _places(kernel: int, stride: int, pad: int, height: int, width: int) -> np.ndarray:
    """[taps, input pixels, output pixels]: 1 where a tap of an output meets an input."""
    high, wide = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    found = np.zeros((kernel, kernel, height, width, high, wide), "float32")
    for i, j, y, x in np.ndindex(kernel, kernel, high, wide):
        at, on = y * stride - pad + i, x * stride - pad + j
        if 0 <= at < height and 0 <= on < width:
            found[i, j, at, on, y, x] = 1
    return found.reshape(kernel * kernel, height * width, high * wide)


if __name__ == "__main__":
    sys.exit(main())
