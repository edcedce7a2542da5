# SPDX-License-Identifier: Apache-2.0
"""What the choices of `accelerate --int8` gain on a model: accuracy, and how near the outputs stay to float32.

    python benchmarks/calibrations.py MODEL CALIBRATION.npy [--data fashion_mnist] [--data_dir DIR]

MODEL is an inference model, CALIBRATION.npy what `demo/calibration_images.py` writes. Every row converts the model
anew and runs the whole test set; differences of outputs are divided by the largest float32 output.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import numpy as np
from data_flags import add_data_flags
from top1 import batches, test_set

CHOICES: dict[str, dict[str, Any]] = {
    "`minmax`": {},
    "`minmax`, no bias correction": {"correct_bias": False},
    "`percentile`": {"calibration": "percentile"},
    "`mse`": {"calibration": "mse"},
    "`minmax`, `--equalize`": {"equalize": True},
    "`mse`, `--equalize`": {"calibration": "mse", "equalize": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="inference model (prefix, or folder)")
    parser.add_argument("calibration", help="samples to calibrate on, a .npy file")
    add_data_flags(parser)
    args = parser.parse_args()
    import paddle

    from paddle_unstructured.runtime import Int8, Session, convert

    paddle.enable_static()
    images, labels = test_set(args.data, args.data_dir)

    def outputs(path: str) -> np.ndarray:
        session = Session(path)
        return np.concatenate([session.run(x)[0] for x, _ in batches(images, labels)])

    with tempfile.TemporaryDirectory() as folder:
        convert(args.model, f"{folder}/fast")
        exact = outputs(f"{folder}/fast")
        print(f"float32: {(exact.argmax(1) == labels).mean():.2%} of {len(labels)} test images\n")
        print("| | test accuracy | same first answer as float32 | mean output difference |\n|---|---|---|---|")
        for name, choice in CHOICES.items():
            convert(args.model, f"{folder}/bytes", int8=Int8(args.calibration, **choice))
            found = outputs(f"{folder}/bytes")
            print(
                f"| {name} | {(found.argmax(1) == labels).mean():.2%} "
                f"| {(found.argmax(1) == exact.argmax(1)).mean():.2%} "
                f"| {np.abs(found - exact).mean() / np.abs(exact).max():.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
