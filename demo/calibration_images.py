# SPDX-License-Identifier: Apache-2.0
"""Training images of the demo as a file to calibrate int8 on: float32 [n, channels, height, width], as nets see them.

python demo/calibration_images.py OUT.npy [--data fashion_mnist] [--data_dir DIR] [--image_size 64] [--count 256]
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]


def main(argv: list[str] | None = None) -> None:
    from data import SPECS, MissingData, load_source
    from options import folder, number

    from paddle_unstructured.formats.atomic import check_writable, replace_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="the .npy file")
    parser.add_argument(
        "--data", choices=sorted(SPECS), default="fashion_mnist", help="data set of the demo (default: fashion_mnist)"
    )
    parser.add_argument("--data_dir", type=folder, help="folder with its files; default: where they usually are")
    parser.add_argument("--image_size", type=number(int, 32, 4096), help="as train.py's, for masks and boxes")
    parser.add_argument("--count", type=number(int, 1), default=256, help="images (default: 256)")
    args = parser.parse_args(argv)
    try:
        check_writable(args.out)
    except OSError as error:
        parser.error(f"out must be a file that can be written, got {args.out}: {error.strerror}")
    try:
        source = load_source(args.data, args.data_dir, "train", args.image_size)
    except (MissingData, ValueError) as error:
        sys.exit(f"calibration_images.py: error: {error}")
    images = source.fetch(np.arange(min(args.count, len(source))), None)[0]
    out = args.out if args.out.endswith(".npy") else f"{args.out}.npy"
    content = io.BytesIO()  # of a full disk numpy itself says only how much it has written
    np.save(content, images)
    replace_file(out, content.getvalue())
    print(f"{len(images)} training images, the first, are in {out}")


if __name__ == "__main__":
    main()
