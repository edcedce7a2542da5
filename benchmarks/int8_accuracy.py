# SPDX-License-Identifier: Apache-2.0
"""int8 of nets with hard-swish, squeeze and excite and depthwise layers: accuracy, beside ONNX Runtime's static QDQ.

    python benchmarks/int8_trained.py FOLDER             # trains them
    python benchmarks/int8_accuracy.py FOLDER [--samples 256] [--only MobileNetV3]

Quantizes each net of FOLDER in several ways on the same training images of Fashion-MNIST, and runs all test images.
"same" is how often the first answer is that of float32; cosine and error, ||y8 - y|| / ||y||, are of all logits. ONNX
Runtime quantizes per channel, its activations by minimum and maximum.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
from covered.rival_files import need
from top1 import batches, test_set

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
WRITTEN = ("_fast", "_bytes")  # what this writes beside them
CHOICES: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, `--most-error 0.05`": {"most_error": 0.05},
    "ours, `--most-error 1`": {"most_error": 1},
    "ours, `--most-error 1 --calibration minmax`": {"most_error": 1, "calibration": "minmax"},
    "ours, `--most-error 1 --calibration percentile`": {"most_error": 1, "calibration": "percentile"},
    "ours, `--most-error 1 --calibration mse`": {"most_error": 1, "calibration": "mse"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where trained nets are, as int8_trained.py writes them")
    parser.add_argument("--samples", type=int, default=256, help="training images to calibrate on (default: 256)")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where it usually is")
    args = parser.parse_args()
    need(parser, "paddle2onnx", "onnx", "onnxruntime")
    print("| net | how | top-1 | same as float32 | cosine | error | layers in float32 |\n|---|---|---|---|---|---|---|")
    for file in sorted(args.folder.glob("*.pdiparams")):
        if args.only in file.stem and not file.stem.endswith(WRITTEN):
            table(file.stem, str(file.with_suffix("")), args)


def table(name: str, prefix: str, args: argparse.Namespace) -> None:
    """Top-1 of float32 and of every way to int8, and how near its outputs and first answers are to float32's."""
    import paddle
    from covered.rival_files import to_onnx, to_qdq
    from data import load_source
    from speed.rivals import onnxruntime

    from paddle_unstructured.runtime import Int8, Session, convert

    paddle.enable_static()
    images, labels = test_set("fashion_mnist", args.data_dir)
    samples, _ = load_source("fashion_mnist", args.data_dir, "train").fetch(np.arange(args.samples), None)

    def outputs(run: Callable[..., Any]) -> np.ndarray:
        return np.concatenate([run(x)[0] for x, _ in batches(images, labels)])

    def row(how: str, found: np.ndarray, note: str = "") -> None:
        right, same = (found.argmax(1) == labels).mean(), (found.argmax(1) == exact.argmax(1)).mean()
        cosine = (found * exact).sum() / (np.linalg.norm(found) * np.linalg.norm(exact))
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        print(f"| {name} | {how} | {right:.2%} | {same:.2%} | {cosine:.5f} | {error:.2%} | {note} |", flush=True)

    convert(prefix, prefix + "_fast")
    exact = outputs(Session(prefix + "_fast").run)
    row("float32", exact)
    for how, choice in CHOICES.items():
        found = convert(prefix, prefix + "_bytes", int8=Int8(samples, **choice))
        outside = sum(each.kernel.startswith("fp32") for each in found.choices)
        row(how, outputs(Session(prefix + "_bytes").run), f"{outside} of {len(found.choices)}")
    with tempfile.TemporaryDirectory() as folder:
        to_onnx(prefix, f"{folder}/net.onnx")
        to_qdq(f"{folder}/net.onnx", f"{folder}/qdq.onnx", [{"x": x[None]} for x in samples])
        row("ONNX Runtime int8 (QDQ)", outputs(onnxruntime(f"{folder}/qdq.onnx", 1)))


if __name__ == "__main__":
    main()
