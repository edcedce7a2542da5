"""Single layers: where the sparse kernels overtake the dense one, and how near they come to the processor's limits."""
from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from .models import prune
from .roofline import Limits, measure_limits

LAYERS = ((32, 64, 1, 112), (128, 128, 1, 56), (256, 256, 1, 28), (512, 512, 1, 14), (1024, 1024, 1, 7),
          (64, 64, 3, 56), (256, 256, 3, 14))  # inputs, outputs, kernel, height and width
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
CHAIN = 8  # equal layers in a row, so that the copies before and after them do not count


def break_even() -> None:
    """Per layer and block: time of the dense kernel / the sparse one, by sparsity; and where the line crosses 1."""
    print("| layer | block | " + " | ".join(f"{sparsity:.0%}" for sparsity in SPARSITIES) + " |")
    print("|---|---|" + "---|" * len(SPARSITIES), flush=True)
    random = np.random.default_rng(0)
    for inputs, outputs, kernel, size in LAYERS:
        x = random.normal(size=(1, inputs, size, size)).astype("float32")
        for block in (1, 2, 4):
            weights = [_weight(random, (outputs, inputs * kernel ** 2), sparsity, block) for sparsity in SPARSITIES]
            dense = _net(weights[:1], inputs, kernel, 0)
            ratios = [_paired(dense, _net([weight], inputs, kernel, block), x) for weight in weights]
            print(f"| {inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size} | {block}x1 | "
                  + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)


def roofline() -> None:
    """What the processor can do, and which part of it the sparse 1x1 kernels reach."""
    limits = measure_limits()
    print(f"One core: {limits.fma:.1f} GMAC/s from registers, {limits.load / 1e9:.0f} GB/s from the first-level cache.")
    print("Inner loop alone, all data in that cache: "
          + ", ".join(f"{limits.entries[block]:.1f} GMAC/s in {block}x1 blocks" for block in limits.entries))
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
    weights = [_weight(random, (channels, channels), sparsity, block) for _ in range(CHAIN)]
    net = _net(weights, channels, 1, block)
    x = random.normal(size=(1, channels, size, size)).astype("float32")
    seconds = sorted(_timed(net, x) for _ in range(30))[7]
    pixels = -(-size * size // 16) * 16
    rate = sum(np.count_nonzero(weight) for weight in weights) * pixels / seconds / 1e9
    return f"{rate:.1f} GMAC/s, {rate / limits.entries[block]:.0%}"


def _weight(random: np.random.Generator, shape: tuple[int, int], sparsity: float, block: int) -> np.ndarray:
    return prune(random.normal(size=shape).astype("float32") / np.sqrt(shape[1]), sparsity, block)


def _net(weights: list[np.ndarray], inputs: int, kernel: int, block: int) -> Any:
    """One convolution after another; block 0: dense."""
    from paddle_unstructured.export.runtime.engine import Engine
    from paddle_unstructured.export.runtime.plan import PlanWriter, Window
    writer, value, window = PlanWriter(inputs), 0, Window((kernel, kernel), pad=(kernel // 2,) * 4)
    for weight in weights:
        shaped = weight.reshape(len(weight), -1, kernel, kernel)
        value = writer.convolution(value, shaped, np.zeros(len(weight)), window, block=block)
    writer.output(writer.add("global_pool", [value]), rank=2)
    return Engine(writer.text, writer.arrays)


def _timed(engine: Any, x: np.ndarray) -> float:
    begun = time.thread_time()
    engine.run(x)
    return time.thread_time() - begun


def _paired(a: Any, b: Any, x: np.ndarray) -> float:
    """Median of a's time / b's time, in turn."""
    times = [(_timed(a, x), _timed(b, x)) for _ in range(23)][3:]
    return statistics.median(first / second for first, second in times)
