# SPDX-License-Identifier: Apache-2.0
"""The picture of README: what sparse int8 costs in accuracy, at equal epochs, and what it gains in time.

    python benchmarks/picture.py      # writes docs/picture.svg from benchmarks/results

Accuracy: accuracy.jsonl, which benchmarks/accuracy.py writes. Time: runtime_int8.md, which runtime.py printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OUT = ROOT / "docs" / "picture.svg"
OURS, DENSE, OTHERS, INK, FAINT = "#3f51b5", "#37474f", "#b0bec5", "#263238", "#607d8b"
TIMED = {
    "this library, int8": 1.0,
    "OpenVINO, int8": "OpenVINO int8",
    "ONNX Runtime, int8": "ONNX Runtime int8",
    "OpenVINO by NNCF, int8": "OpenVINO NNCF int8",
    "this library, float32": "ours",
    "ONNX Runtime, float32": "ONNX Runtime",
}


def accuracies() -> dict[str, list[float]]:
    """Label -> test accuracy in percent of each seed, after the same number of epochs."""
    lines = [json.loads(line) for line in (RESULTS / "accuracy.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if line["model"] == "MobileNet" and line["epochs"] == 6]

    def of(method: str, sparsity: float, field: str) -> list[float]:
        found = [line for line in rows if (line["method"], line["sparsity"]) == (method, sparsity)]
        return [100 * line[field] for line in found]

    return {
        "dense, float32": of("longer", 0.0, "accuracy"),
        "75 % zeros, float32": of("int8", 0.75, "float_accuracy"),
        "75 % zeros, int8": of("int8", 0.75, "accuracy"),
        "90 % zeros, float32": of("int8", 0.9, "float_accuracy"),
        "90 % zeros, int8": of("int8", 0.9, "accuracy"),
    }


def times() -> tuple[str, dict[str, float]]:
    """Our time for one image as it was printed, and label -> the engine's time divided by ours."""
    lines = (RESULTS / "runtime_int8.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    wanted = ["MobileNet", "75% 1x4 blocks", "1", "1"]
    row = dict(zip(table[0], next(line for line in table if line[:4] == wanted)))
    ratios = {
        label: float(row[column].split()[0]) if isinstance(column, str) else column for label, column in TIMED.items()
    }
    return row["ours int8"], ratios


def text(
    x: float, y: float, words: str, *, size: int = 13, fill: str = INK, end: bool = False, bold: bool = False
) -> str:
    anchor, weight = ' text-anchor="end"' if end else "", ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{anchor}{weight}>{words}</text>'


def accuracy_panel(left: float, top: float) -> list[str]:
    low, high, width, begin = 80.0, 85.0, 190.0, left + 140

    def at(percent: float) -> float:
        return begin + width * (percent - low) / (high - low)

    drawn = [
        text(left, top, "Accuracy at equal epochs", size=15, bold=True),
        text(left, top + 20, "MobileNetV1 (width 0.25), Fashion-MNIST, test top-1", fill=FAINT, size=12),
        text(left, top + 36, "dot: mean of 3 seeds; line: ± standard deviation", fill=FAINT, size=12),
    ]
    bottom = top + 58 + 5 * 28
    for tick in range(int(low), int(high) + 1):
        drawn.append(f'<path d="M{at(tick):g} {top + 52:g}V{bottom:g}" stroke="#eceff1"/>')
        drawn.append(text(at(tick) + 12, bottom + 16, f"{tick} %", size=11, fill=FAINT, end=True))
    for i, (label, values) in enumerate(accuracies().items()):
        y, middle, spread = top + 72 + 28 * i, mean(values), stdev(values)
        color = OURS if i else DENSE
        drawn += [
            text(begin - 12, y + 4, label, end=True),
            f'<path d="M{at(middle - spread):.1f} {y:g}H{at(middle + spread):.1f}" stroke="{color}" stroke-width="3"/>',
            f'<circle cx="{at(middle):.1f}" cy="{y:g}" r="6" fill="{color}"/>',
            text(begin + width + 56, y + 4, f"{middle:.2f}", end=True, bold=True),
        ]
    return drawn


def time_panel(left: float, top: float) -> list[str]:
    ours, ratios = times()
    begin, unit = left + 164, 21.0
    drawn = [
        text(left, top, "Time for one image", size=15, bold=True),
        text(left, top + 20, "MobileNetV1, 224 x 224, 75 % zeros in blocks of 4 inputs,", fill=FAINT, size=12),
        text(left, top + 36, "one thread of an AMD EPYC (Zen 4); shorter is better", fill=FAINT, size=12),
    ]
    for i, (label, ratio) in enumerate(ratios.items()):
        y = top + 66 + 26 * i
        words = ours if ratio == 1.0 else f"{ratio:.2f} x"
        color = OURS if label.startswith("this") else OTHERS
        drawn += [
            text(begin - 12, y + 5, label, end=True),
            f'<rect x="{begin:g}" y="{y - 8:g}" width="{unit * ratio:.1f}" height="17" rx="2" fill="{color}"/>',
            text(begin + unit * ratio + 7, y + 5, words, bold=ratio == 1.0),
        ]
    return drawn


def picture() -> str:
    title = "What sparse int8 costs in accuracy at equal epochs, and what it gains in time beside other engines"
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 264" width="860" height="264" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"><title>{title}</title>'
    )
    body = ['<rect width="860" height="264" rx="8" fill="#fff"/>', *accuracy_panel(20, 34), *time_panel(440, 34)]
    return "\n".join([head, *body, "</svg>", ""])


if __name__ == "__main__":
    OUT.write_text(picture(), encoding="utf-8")
    print(f"written: {OUT.relative_to(ROOT)}")
