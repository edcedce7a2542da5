# SPDX-License-Identifier: Apache-2.0
"""Find boxes with a detector that `accelerate` has written, in a Session: numpy and Pillow, no Paddle.

    python demo/detect.py runs/fast/model photo.jpg -o found           # found/photo.png, with boxes
    python demo/detect.py runs/fast/model --scenes runs/scenes64       # mAP on test.npz of make_scenes.py

The model is one that ends before NMS (folder `before_nms` of a run).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nms
import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="prefix of the converted model")
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--scenes", type=Path, help="folder with the test.npz to count mAP on")
    parser.add_argument("--size", type=int, default=416, help="height and width that the net was trained with")
    parser.add_argument("--least", type=float, default=0.3, help="score of a box that is drawn (default: 0.3)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("found"), help="folder of the pictures (default: found)"
    )
    args = parser.parse_args(argv)
    if not args.images and not args.scenes:
        parser.error("give images, or --scenes FOLDER")
    try:
        detect(args)
    except (OSError, ValueError) as error:
        sys.exit(f"detect.py: error: {error}")


def detect(args: argparse.Namespace) -> None:
    """Count mAP, and write pictures, as the flags say."""
    from box_source import resized
    from pictures import read_rgb

    from paddle_unstructured.runtime.session import Session

    session = Session(args.model, threads=1)
    if args.scenes:
        print(judged(session, args.scenes / "test.npz", args.model))
    for file in args.images:
        pixels = read_rgb(file)
        boxes, scores = found_by(session, resized(pixels, (args.size, args.size))[None], args.model)
        args.output.mkdir(parents=True, exist_ok=True)
        out = args.output / f"{file.stem}.png"
        drawn(pixels, nms.choose(boxes, scores)[0], args.size, args.least).save(out)
        print(out)


def found_by(session, images: np.ndarray, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, points, 4] and scores [n, classes, points] of images [n, 3, h, w]."""
    answers = session.run(images)
    shapes = [answer.shape for answer in answers]
    if len(shapes) != 2 or [len(shape) for shape in shapes] != [3, 3] or shapes[0][2] != 4:
        raise ValueError(
            f"{model} must give boxes [n, points, 4] and scores [n, classes, points], as a detector of a run's "
            f"before_nms does, got outputs {', '.join(map(str, shapes))}"
        )
    return answers[0], answers[1]


def judged(session, file: Path, model: str) -> str:
    """mAP over all scenes of a file, and the mean time of one."""
    from precision import Precision
    from scenes import CLASSES, Scenes

    scenes = Scenes(file, boxes=True)
    score, seconds = Precision(CLASSES, scenes.images.shape[2:]), 0.0
    for i in range(len(scenes)):
        image, *labels = scenes.fetch(np.array([i]), None)
        begun = time.perf_counter()
        answers = found_by(session, image, model)
        seconds += time.perf_counter() - begun
        score.add(nms.choose(*answers), labels)
    found = score.result()
    words = f"mAP {found['map']:.4f}, mAP at IoU 0.5 {found['map50']:.4f} of {found['images']} images"
    return f"{words}; {1000 * seconds / len(scenes):.2f} ms each before NMS"


def drawn(pixels: np.ndarray, found: np.ndarray, size: int, least: float) -> Image.Image:
    """The picture with the boxes whose score is at least `least`, and their classes."""
    image = Image.fromarray(pixels)
    draw, scale = ImageDraw.Draw(image), np.tile(np.array(image.size) / size, 2)
    for kind, score, *box in found[found[:, 1] >= least]:
        left, top, right, bottom = np.array(box) * scale
        if not (left <= right and top <= bottom):  # int8 may turn a small box over
            continue
        draw.rectangle((left, top, right, bottom), outline=(255, 64, 64))
        draw.text((left + 2, top), f"{int(kind)} {score:.2f}", fill=(255, 64, 64))
    return image


if __name__ == "__main__":
    main()
