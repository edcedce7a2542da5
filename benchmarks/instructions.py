# SPDX-License-Identifier: Apache-2.0
"""Instructions of sparse layers on 64-bit ARM, beside the same layers dense: counted by an emulator, never timed.

    python benchmarks/instructions.py [--shape OUTPUTS INPUTS HEIGHT WIDTH] [--cpus cortex-a53 cortex-a76 max]

One thread, 1x1 convolutions with random weights, whole layers: panels, sums and the conversion of results included. A
layer's count is what two more layers in a plan add, halved. Needs a cross compiler and QEMU (emulated/arm.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from emulated import arm  # noqa: E402
from emulated.plan_files import Case, write_cases  # noqa: E402

from paddle_unstructured.runtime.engine import Engine  # noqa: E402
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer  # noqa: E402
from paddle_unstructured.runtime.int8.quantizer import Quantizer  # noqa: E402
from paddle_unstructured.runtime.int8.weights import Int8Weight  # noqa: E402
from paddle_unstructured.runtime.plan import Window, one_image  # noqa: E402

# name -> (zeros, outputs and inputs that are zero together, outputs that share an entry, 0: dense)
LAYERS = {
    "dense": (0.0, (1, 4), 0),
    "50 % 1x4": (0.5, (1, 4), 1),
    "75 % 1x4": (0.75, (1, 4), 1),
    "90 % 1x4": (0.9, (1, 4), 1),
    "75 % 2x4": (0.75, (2, 4), 2),
    "75 % 4x4": (0.75, (4, 4), 4),
}
SHAPE = (256, 256, 14, 14)


def case_of(layer: str, count: int, shape: tuple[int, int, int, int], int8: bool) -> Case:
    """A plan of `count` equal layers, and what this machine makes of it."""
    outputs, inputs, height, width = shape
    sparsity, (high, wide), block = LAYERS[layer]
    random = np.random.default_rng(0)
    kept = random.random((outputs // high, inputs // wide)) >= sparsity
    values = random.integers(-127, 128, (outputs, inputs)) * kept.repeat(high, 0).repeat(wide, 1)
    writer = one_image(inputs)
    value: Any = 0
    step = np.full(outputs, 0.7 / (73 * np.sqrt(inputs * (1 - sparsity))), "float32")
    if int8:
        write, byte = Int8Writer(writer), Quantizer(1.0, 120)
        weight = Int8Weight(values.astype("int8")[:, :, None, None], step, np.zeros(outputs, "float32"))
        value = write.quantize(value, byte)
        for _ in range(count):
            value = write.convolution(value, weight, Window(), byte, block=block)
        value = write.dequantize(value)
    else:
        matrix = (values * step[:, None]).astype("float32")[:, :, None, None]
        for _ in range(count):
            value = writer.convolution(value, matrix, np.zeros(outputs, "float32"), Window(), block=block)
    writer.output(value, rank=4)
    x = random.normal(size=(1, inputs, height, width)).astype("float32") * (60 if int8 else 1)
    return Case(writer.text, writer.arrays, [x], Engine(writer.text, writer.arrays).run(x), 0 if int8 else 1e-5)


class Counter:
    """Counts instructions of layers on one emulated processor after another.

    Args:
        folder: where programs and plans are written.
        program: run_plans of ARM.
    """

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder, self._program, self._plugin = folder, program, arm.build_counter(folder)

    def of(self, layer: str, shape: tuple[int, int, int, int], *, int8: bool, cpu: str) -> float:
        """Of one layer; `layer` is a name of LAYERS."""
        counted = []
        for count in (1, 3):
            path = write_cases(self._folder / "cases", [case_of(layer, count, shape, int8)])
            counted.append(arm.instructions(self._program, cpu, self._plugin, path))
        return (counted[1] - counted[0]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=4, default=SHAPE, help="outputs, inputs, height, width")
    parser.add_argument("--cpus", nargs="+", choices=list(arm.CPUS), default=list(arm.CPUS))
    args = parser.parse_args()
    if arm.missing():
        sys.exit(arm.missing())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counter = Counter(folder, arm.build(arm.HERE / "run_plans.cpp", folder, arm.kernels()))
        print("| kernels | " + " | ".join(LAYERS) + " |")
        print("|---" * (len(LAYERS) + 1) + "|")
        for int8, cpu in [(False, args.cpus[0]), *[(True, cpu) for cpu in args.cpus]]:
            row, dense = [], 0.0
            for layer in LAYERS:
                found = counter.of(layer, tuple(args.shape), int8=int8, cpu=cpu)
                dense = dense or found
                row.append(f"{found / 1e6:.2f} M" if layer == "dense" else f"{found / dense:.3f}")
            kernels = f"int8 `{arm.CPUS[cpu]}` ({cpu})" if int8 else "float32 `neon`"
            print(f"| {kernels} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
