# SPDX-License-Identifier: Apache-2.0
"""Write a few generated images in ImageNet's layout, to try the ImageNet commands without ImageNet.

python demo/make_fake_imagenet.py /tmp/fake --train 32 --test 16
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def write_split(folder: Path, split: str, count: int, classes: int, rng: np.random.Generator) -> None:
    """Write `count` images, each tinted by its class, and their list file."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        label = index % classes
        tint = np.random.default_rng(label).integers(0, 256, 3)
        noise = rng.integers(0, 64, (rng.integers(180, 320), rng.integers(180, 320), 3))
        path = f"{split}/{index:05d}.{'png' if index % 4 == 3 else 'jpg'}"
        Image.fromarray(((noise + 3 * tint) // 4).astype(np.uint8)).save(folder / path)
        lines.append(f"{path} {label}\n")
    (folder / f"{split}_list.txt").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the images and train_list.txt, val_list.txt go")
    parser.add_argument("--train", type=int, default=32, help="training images (default: %(default)s)")
    parser.add_argument("--test", type=int, default=16, help="validation images (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=4, help="labels are 0..classes-1 (default: %(default)s)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    write_split(args.folder, "train", args.train, args.classes, rng)
    write_split(args.folder, "val", args.test, args.classes, rng)


if __name__ == "__main__":
    main()
