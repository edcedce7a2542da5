# SPDX-License-Identifier: Apache-2.0
"""Single layers: where the sparse kernels overtake the dense one, and how near they come to the processor's limits."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import numpy as np

from .models import prune
from .roofline import Limits, measure_limits
from .tables import processor

LAYERS = (
    (32, 64, 1, 112),
    (128, 128, 1, 56),
    (256, 256, 1, 28),
    (512, 512, 1, 14),
    (1024, 1024, 1, 7),
    (64, 64, 3, 56),
    (256, 256, 3, 14),
)  # inputs, outputs, kernel, height and width
LINEAR = ((128, 128, 1, 1), (256, 256, 1, 1), (512, 512, 1, 1), (1024, 1024, 1, 1), (2048, 2048, 1, 1))
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
# The name of a way -> the instruction set that forces it, and whether it is stored as sparse; None: if there are zeros.
WAYS = {
    "vectors": ("avx512_vbmi", None),
    "dense tiles": ("amx_only", False),
    "sparse tiles": ("amx_only", True),
    "chosen": ("amx", None),
}
TURNS = 40
CHAIN = 8  # equal layers in a row, so that the copies before and after them do not count
COLD = 6  # linear layers in a row, so that the weights of large ones do not stay in the second-level cache


def break_even(int8: bool) -> None:
    """Per layer and block: time of the dense kernel / the sparse one, by sparsity; above 1 the sparse one is faster."""
    print("| layer | block | " + " | ".join(f"{sparsity:.0%}" for sparsity in SPARSITIES) + " |")
    print("|---|---|" + "---|" * len(SPARSITIES), flush=True)
    random, width = np.random.default_rng(0), 4 if int8 else 1
    make = _byte_net if int8 else _net
    for inputs, outputs, kernel, size in (*LAYERS, *LINEAR):
        linear = size == 1
        x = random.normal(size=(1, inputs) if linear else (1, inputs, size, size)).astype("float32")
        for block in (1, 2, 4):

            def pruned(sparsity: float) -> list[np.ndarray]:
                return [
                    _weight(random, (outputs, inputs, kernel, kernel), sparsity, block, width)  # noqa: B023
                    for _ in range(COLD if linear else 1)
                ]  # noqa: B023

            dense = make(pruned(SPARSITIES[0]), 0, linear)
            ratios = [_paired(dense, make(pruned(sparsity), block, linear), x) for sparsity in SPARSITIES]
            print(
                f"| {inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size} | {block}x{width} | "
                + " | ".join(f"{ratio:.2f}" for ratio in ratios)
                + " |",
                flush=True,
            )


def ways() -> None:
    """Per layer of blocks of 16 outputs x 4 inputs: microseconds on vectors, on tiles, and as chosen."""
    columns = ("dense", "50%", "75%", "90%")
    print(f"{processor()}; best of {TURNS} turns, a mean of {CHAIN} layers\n")
    print("| layer | way | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns), flush=True)
    random = np.random.default_rng(0)
    for inputs, outputs, kernel, size in LAYERS:
        shapes = [(outputs, inputs, kernel, kernel), (inputs, outputs, kernel, kernel)] * (CHAIN // 2)
        x = random.normal(size=(1, inputs, size, size)).astype("float32")
        nets: dict[str, list[Any]] = {name: [] for name in WAYS}
        for sparsity in (0.0, 0.5, 0.75, 0.9):
            weights = [_weight(random, shape, sparsity, 16, 4) for shape in shapes]
            for name, (isa, stored) in WAYS.items():
                os.environ["PADDLE_UNSTRUCTURED_ISA_INT8"] = isa
                sparse = sparsity > 0 if stored is None else stored
                nets[name].append(_byte_net(weights, 16 if sparse else 0, False))
        best = {name: [1e9] * len(columns) for name in WAYS}
        for _ in range(TURNS):
            for name, engines in nets.items():
                best[name] = [min(time, _timed(engine, x)) for time, engine in zip(best[name], engines)]
        for name, times in best.items():
            line = f"{inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size}"
            print(f"| {line} | {name} | {' | '.join(f'{1e6 * time / CHAIN:.1f}' for time in times)} |", flush=True)


def roofline() -> None:
    """What the processor can do, and which part of it the sparse 1x1 kernels reach."""
    limits = measure_limits()
    print(f"One core: {limits.fma:.1f} GMAC/s from registers, {limits.load / 1e9:.0f} GB/s from the first-level cache.")
    print(
        "Inner loop alone, all data in that cache: "
        + ", ".join(f"{limits.entries[block]:.1f} GMAC/s in {block}x1 blocks" for block in limits.entries)
    )
    print("\n| layer | zeros | " + " | ".join(f"{block}x1" for block in limits.entries) + " |")
    print("|---|---|" + "---|" * len(limits.entries), flush=True)
    for channels, size in ((128, 56), (256, 28), (512, 14), (1024, 7)):
        for sparsity in (0.75, 0.9):
            cells = [_reached(channels, size, sparsity, block, limits) for block in limits.entries]
            line = f"{channels} -> {channels}, 1x1, {size}x{size}"
            print(f"| {line} | {sparsity:.0%} | {' | '.join(cells)} |", flush=True)


def _reached(channels: int, size: int, sparsity: float, block: int, limits: Limits) -> str:
    """Multiplications per second, of pixels and of the padding that vectors of 16 need, as a part of the limit."""
    random = np.random.default_rng(0)
    weights = [_weight(random, (channels, channels, 1, 1), sparsity, block) for _ in range(CHAIN)]
    net = _net(weights, block, linear=False)
    x = random.normal(size=(1, channels, size, size)).astype("float32")
    seconds = sorted(_timed(net, x) for _ in range(30))[7]
    pixels = -(-size * size // 16) * 16
    rate = sum(np.count_nonzero(weight) for weight in weights) * pixels / seconds / 1e9
    return f"{rate:.1f} GMAC/s, {rate / limits.entries[block]:.0%}"


def _weight(
    random: np.random.Generator, shape: tuple[int, ...], sparsity: float, outputs: int, inputs: int = 1
) -> np.ndarray:
    """float32 of this shape, zeros in blocks of outputs x inputs at one kernel position."""
    dense = random.normal(size=shape).astype("float32") / np.sqrt(np.prod(shape[1:]))
    return prune(dense.reshape(*shape[:2], -1), sparsity, outputs, inputs).reshape(shape)


def _net(weights: list[np.ndarray], block: int, linear: bool) -> Any:
    """One convolution or linear layer after another; block 0: dense."""
    from paddle_unstructured.runtime.engine import Engine
    from paddle_unstructured.runtime.plan import Window, one_image

    kernel = weights[0].shape[2]
    writer, value = one_image(weights[0].shape[1], 2 if linear else 4), 0
    window = Window((kernel,) * 2, pad=(kernel // 2,) * 4)
    for weight in weights:
        value = writer.convolution(value, weight, np.zeros(len(weight)), window, block=block, linear=linear)
    writer.output(value if linear else writer.add("global_pool", [value]), rank=2)
    return Engine(writer.text, writer.arrays)


def _byte_net(weights: list[np.ndarray], block: int, linear: bool) -> Any:
    """The same on bytes."""
    from paddle_unstructured.runtime.engine import Engine
    from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
    from paddle_unstructured.runtime.int8.quantizer import Quantizer
    from paddle_unstructured.runtime.int8.weights import Int8Weight
    from paddle_unstructured.runtime.plan import Window, one_image

    kernel, to = weights[0].shape[2], Quantizer(0.02, 100)
    plan = one_image(weights[0].shape[1], 2 if linear else 4)
    writer, window = Int8Writer(plan), Window((kernel,) * 2, pad=(kernel // 2,) * 4)
    value = writer.quantize(0, to)
    for weight in weights:
        scale = np.full(len(weight), np.abs(weight).max() / 127, "float32")
        integers = np.rint(weight / scale[0]).astype("int8")
        integers[(integers == 0) & (weight != 0)] = 1  # a weight that is kept stays one
        value = writer.convolution(
            value, Int8Weight(integers, scale, np.zeros_like(scale)), window, to, block=block, linear=linear
        )
    plan.output(writer.dequantize(value if linear else writer.global_pool(value, to)), rank=2)
    return Engine(plan.text, plan.arrays)


def _timed(engine: Any, x: np.ndarray) -> float:
    begun = time.thread_time()
    engine.run(x)
    return time.thread_time() - begun


def _paired(a: Any, b: Any, x: np.ndarray) -> float:
    """Median of a's time / b's time, in turn."""
    times = [(_timed(a, x), _timed(b, x)) for _ in range(23)][3:]
    return statistics.median(first / second for first, second in times)
