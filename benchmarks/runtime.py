# SPDX-License-Identifier: Apache-2.0
"""How fast pruned models run, beside other engines, as a table.

    python benchmarks/runtime.py [--threads 1 2] [--batch 1 8] [--rounds 12] [--others PYTHON] [--models FOLDER]
    python benchmarks/runtime.py prepare --models FOLDER      # save and convert the models, measure nothing
    python benchmarks/runtime.py --int8                       # the same for sparse int8; prepare knows it too
    python benchmarks/runtime.py --bf16                       # for bfloat16; prepare knows it too
    python benchmarks/runtime.py break-even [--int8]          # sparse against dense kernels, layer by layer
    python benchmarks/runtime.py ways                         # int8: vectors against tiles, on a processor with AMX
    python benchmarks/runtime.py scaling [--int8 | --bf16]    # two threads, beside two runs at once
    python benchmarks/runtime.py roofline                     # what the processor can do, and what of it we reach

MobileNetV1, ResNet-50 and others, random weights, pruned at random or in blocks; 224 x 224. Each engine has a process
of its own; in every round each runs in turn, alone, for a tenth of a second, and its best run counts. A figure "n x" is
the median over the rounds of (the engine's time / ours): above 1, we are faster. With `--busy`, where others use the
machine too, it is the best time / our best, in seconds of the processor (one thread). `--others` names a Python with
openvino, nncf, MNN or deepsparse, whichever is there; onnxruntime and paddle2onnx belong to this one. rule.py has its
numbers from `break-even`. Columns are in speed/rivals.py, rows in speed/models.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo"), str(ROOT / "benchmarks")]


def main() -> None:
    args = parse()
    if args.worker:
        from speed.measuring import serve

        serve(*args.worker)
    elif args.what in ("break-even", "roofline", "ways"):
        from speed import layers

        if args.what == "break-even":
            layers.break_even(args.int8)
        else:
            layers.roofline() if args.what == "roofline" else layers.ways()
    else:
        from speed.tables import prepare_all, table

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(args.models or temporary)
            prepare_all(folder, args.cases, args.int8, args.bf16)
            if args.what == "table":
                table(folder, args)
            elif args.what == "scaling":
                from speed.scaling import scaling

                scaling(folder, args)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = ["table", "prepare", "scaling", "break-even", "ways", "roofline"]
    parser.add_argument("what", nargs="?", choices=steps, default="table")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="thread counts (default: 1)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="batch sizes (default: 1)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each comparison (default: 12)")
    parser.add_argument("--cases", default="", help="only cases whose name contains this, as in 'MobileNet 75'")
    parser.add_argument("--models", default="", help="where models are kept for the next time (default: nowhere)")
    parser.add_argument("--int8", action="store_true", help="the table of sparse int8 instead of that of float32")
    parser.add_argument("--bf16", action="store_true", help="the table of bfloat16 on processors with AMX")
    parser.add_argument("--busy", action="store_true", help="others use the machine: best processor times, one thread")
    parser.add_argument("--no-header", action="store_true", help="rows only, to go on with a table")
    parser.add_argument("--others", action="append", default=[], metavar="PYTHON", help="may be given more than once")
    parser.add_argument("--worker", nargs="+", metavar="WORD", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
