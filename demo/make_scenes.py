# SPDX-License-Identifier: Apache-2.0
"""Make scenes for segmentation and detection from a data set of small images: thousands in a minute, always the same.

    python demo/make_scenes.py runs/scenes --data fashion_mnist
    python demo/train.py --data scenes --data_dir runs/scenes --model HumanSeg --width 0.5 ...

Training scenes are made of training images, test scenes of test images. FOLDER gets train.npz and test.npz, or with
--format the files that your own data would have, for --data coco, voc or masks; with --show also scenes.png, some
scenes with their masks.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]


def main(argv: list[str] | None = None) -> None:
    from data import MissingData, load_source
    from scene_files import FORMATS
    from scenes import compose

    from paddle_unstructured.formats.atomic import check_writable, replace_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--data", choices=("digits", "fashion_mnist", "mnist"), default="digits", help="of the objects")
    parser.add_argument("--data_dir", help="folder with its files; default: where they usually are")
    parser.add_argument("--train", type=int, default=4000, help="training scenes (default: 4000)")
    parser.add_argument("--test", type=int, default=500, help="test scenes (default: 500)")
    parser.add_argument("--size", type=int, default=96, help="height and width, a multiple of 32 (default: 96)")
    parser.add_argument(
        "--kinds", type=int, default=10, help="of objects, the first ones: 3 are learned soon (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=("npz", *FORMATS), default="npz", help="of what is written (default: npz)")
    parser.add_argument("--show", action="store_true", help="write scenes.png too")
    args = parser.parse_args(argv)
    for name, least in (("train", 1), ("test", 1), ("size", 32), ("kinds", 1), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if args.kinds > 10:
        parser.error(f"--kinds must be at most 10, which --data {args.data} has, got {args.kinds}")
    if args.size % 32:
        parser.error(f"--size must be a multiple of 32, got {args.size}")
    try:
        check_writable(args.folder / "train.npz")
    except OSError as error:
        parser.error(f"folder must be a folder that can be written to, got {args.folder}: {error.strerror}")

    try:
        sources = [load_source(args.data, args.data_dir, split) for split in ("train", "test")]
    except MissingData as error:
        sys.exit(f"make_scenes.py: error: {error}")
    args.folder.mkdir(parents=True, exist_ok=True)
    for number, (split, count, source) in enumerate(zip(("train", "test"), (args.train, args.test), sources)):
        labels = source.labels.reshape(-1)
        images, labels = source.images[labels < args.kinds, 0], labels[labels < args.kinds]
        images = (images.astype(np.float32) * (255 / images.max())).astype(np.uint8)
        made = compose(images, labels, count, size=args.size, seed=(args.seed, number))
        if args.format == "npz":
            content = io.BytesIO()
            np.savez_compressed(content, **made)
            replace_file(str(args.folder / f"{split}.npz"), content.getvalue())
        else:
            FORMATS[args.format](args.folder, split, made)
        where = args.folder / f"{split}.npz" if args.format == "npz" else f"{args.folder} for --data {args.format}"
        print(f"{count} {split} scenes, {int((made['boxes'][..., 2] > 0).sum())} objects, are in {where}")
    if args.show:
        picture(made).save(args.folder / "scenes.png")


def picture(made: dict[str, np.ndarray]) -> Image.Image:
    """Eight scenes above their masks."""
    scenes = np.concatenate(made["images"][:8].transpose(0, 2, 3, 1), axis=1)
    masks = np.concatenate(made["masks"][:8], axis=1)[..., None].repeat(3, 2) * 25
    return Image.fromarray(np.concatenate([scenes, masks.astype(np.uint8)]))


if __name__ == "__main__":
    main()
