# SPDX-License-Identifier: Apache-2.0
"""Top-1 and speed of a pruned model before and after conversion, on a test set of the demo.

    python benchmarks/top1.py MODEL OUT [--data fashion_mnist] [--data_dir DIR] [--threads 1]

MODEL is an inference model; OUT the prefix of the converted one, which is written first. The converted model is counted
three times: under Paddle's Predictor, by a Session (which needs no Paddle), and by a Predictor in a fresh process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
from data_flags import add_data_flags

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="inference model (prefix of .json and .pdiparams)")
    parser.add_argument("out", help="prefix of the converted model")
    add_data_flags(parser)
    parser.add_argument("--threads", type=int, default=1, help="of both models (default: 1)")
    parser.add_argument("--count-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    import paddle

    from paddle_unstructured.runtime import Session, benchmark, convert, create_predictor

    paddle.enable_static()
    images, labels = test_set(args.data, args.data_dir)

    def count(run: Callable[[np.ndarray], np.ndarray]) -> int:
        return sum(int((run(x).argmax(1) == y).sum()) for x, y in batches(images, labels))

    if args.count_only:
        print(count(under(create_predictor(args.out, threads=args.threads))))
        return 0
    print(convert(args.model, args.out))
    session = Session(args.out, threads=args.threads)
    right = {
        "dense kernels, Predictor": count(under(create_predictor(args.model, threads=args.threads))),
        "converted, Predictor": count(under(create_predictor(args.out, threads=args.threads))),
        "converted, Session": count(lambda x: session.run(x)[0]),
        "converted, Predictor in a fresh process": int(
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--count-only"], check=True, capture_output=True, text=True
            ).stdout.splitlines()[-1]
        ),
    }
    for name, hits in right.items():
        print(f"top-1 {hits / len(labels):.4%}  ({hits} of {len(labels)})  {name}")
    print(benchmark(args.model, args.out, threads=args.threads, inputs={input_name(args.model): images[:1]}))
    return 0 if len(set(right.values())) == 1 else 1


def test_set(name: str, folder: str | None) -> tuple[np.ndarray, np.ndarray]:
    """All test images [n, channels, height, width] and labels [n]."""
    from data import load_source

    source = load_source(name, folder, "test")
    images, labels = source.fetch(np.arange(len(source)), None)
    return images, labels.ravel()


def batches(images: np.ndarray, labels: np.ndarray, size: int = 100) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for begin in range(0, len(images), size):
        yield images[begin : begin + size], labels[begin : begin + size]


def under(predictor: Any) -> Callable[[np.ndarray], np.ndarray]:
    source = predictor.get_input_handle(predictor.get_input_names()[0])

    def run(x: np.ndarray) -> np.ndarray:
        source.copy_from_cpu(np.ascontiguousarray(x))
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()

    return run


def input_name(model: str) -> str:
    from paddle_unstructured.saved_model import open_model

    return open_model(model).feeds[0]


if __name__ == "__main__":
    sys.exit(main())
