# SPDX-License-Identifier: Apache-2.0
"""Accuracy, size and speed of a net at every stage from dense float32 to sparse int8, beside ONNX Runtime.

    python benchmarks/int8.py DENSE SPARSE CALIBRATION.npy --int8 INT8 [--int8 ANOTHER] [--data fashion_mnist]

DENSE and SPARSE are inference models; INT8 is what `accelerate --int8` made of SPARSE, and CALIBRATION.npy what it was
calibrated on: ONNX Runtime's dense int8 (static, per channel) is calibrated on the same images. SPARSE is converted
here, too, to run sparse in float32. Speed: one image at a time, all engines in turn, the median; "x" is the median over
the rounds of ONNX Runtime's time (dense, float32) / this one's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
from data_flags import add_data_flags
from top1 import batches, test_set

Run = Callable[[np.ndarray], np.ndarray]
IMAGES = 128  # that ONNX Runtime is calibrated on, one at a time


@dataclass
class Stage:
    """One row of the table: a model, what runs it, and what was measured."""

    name: str
    engine: str
    run: Run
    files: list[Path]
    right: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def size(self) -> float:
        """In MB."""
        return sum(file.stat().st_size for file in self.files) / 1e6


def main() -> None:
    args = parse()
    import paddle

    paddle.enable_static()
    images, labels = test_set(args.data, args.data_dir)
    if args.images:
        images, labels = images[: args.images], labels[: args.images]
    with tempfile.TemporaryDirectory() as folder:
        stages = [*onnx_stages(args, Path(folder)), *our_stages(args, Path(folder))]
        for stage in stages:
            stage.right = sum(int((stage.run(x).argmax(1) == y).sum()) for x, y in batches(images, labels))
        for i in range(args.rounds):
            for stage in stages:
                stage.seconds.append(timed(stage.run, images[i % len(images)][None]))
        print(table(stages, len(labels), args.threads))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", help="inference model (prefix, or folder)")
    parser.add_argument("sparse", help="inference model of the same net, pruned")
    parser.add_argument("calibration", help="the .npy file that int8 was calibrated on")
    parser.add_argument("--int8", action="append", required=True, help="converted model; may be given more than once")
    add_data_flags(parser)
    parser.add_argument("--images", type=int, help="count only so many test images; default: all")
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default: 1)")
    parser.add_argument("--rounds", type=int, default=300, help="images that are timed (default: 300)")
    return parser.parse_args()


# ---------------------------------------------------------------- ours


def our_stages(args: argparse.Namespace, folder: Path) -> Iterator[Stage]:
    from paddle_unstructured.runtime import Session, convert

    convert(args.sparse, str(folder / "fast"))
    for name, path in (("sparse fp32", str(folder / "fast")), *[(int8_name(path), path) for path in args.int8]):
        session = Session(path, threads=args.threads)
        yield Stage(name, "ours", lambda x, session=session: session.run(x)[0], files_of(path))


def int8_name(path: str) -> str:
    return f"sparse int8 ({Path(path).name})"


def files_of(path: str) -> list[Path]:
    from paddle_unstructured.export import find_model

    files = find_model(path)
    return [Path(files.program), Path(files.params)]


# ---------------------------------------------------------------- ONNX Runtime


def onnx_stages(args: argparse.Namespace, folder: Path) -> Iterator[Stage]:
    """The dense model in float32, and quantized by ONNX Runtime; left out where that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        left_out = "its rows, those of the dense net, are left out"
        print(f'onnxruntime is not installed: {left_out}; pip install -e ".[onnx]"', file=sys.stderr)
        return
    from paddle_unstructured.export import to_onnx

    onnxruntime.set_default_logger_severity(3)  # errors; it warns of every initializer that it takes out
    logging.disable(logging.INFO)
    float32, int8 = folder / "dense.onnx", folder / "dense_int8.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        to_onnx(args.dense, str(float32))
        quantize(float32, int8, np.load(args.calibration)[:IMAGES])
    for name, file in (("dense fp32", float32), ("dense int8", int8)):
        yield Stage(name, "ONNX Runtime", onnx_run(file, args.threads), [file])


def quantize(source: Path, out: Path, images: np.ndarray) -> None:
    """ONNX Runtime's static quantization, per channel, weights symmetric and activations uint8."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(str(source)).graph.input[0].name

    class Images(CalibrationDataReader):
        left = [{name: image[None]} for image in images]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    prepared = source.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared))
    quantize_static(
        str(prepared),
        str(out),
        Images(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def onnx_run(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


# ---------------------------------------------------------------- measuring


def timed(run: Run, x: Any) -> float:
    """The best of three runs."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - begun)
    return min(times)


def table(stages: list[Stage], images: int, threads: int) -> str:
    lines = [f"| model | runs in | top-1 of {images} | file | one image, {threads} thread(s) | x |", "|---" * 6 + "|"]
    for stage in stages:
        faster = statistics.median(a / b for a, b in zip(stages[0].seconds, stage.seconds))
        lines.append(
            f"| {stage.name} | {stage.engine} | {100 * stage.right / images:.2f} % | {stage.size:.2f} MB | "
            f"{1e3 * statistics.median(stage.seconds):.3f} ms | {faster:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
