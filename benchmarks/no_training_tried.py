# SPDX-License-Identifier: Apache-2.0
"""Pruning without training: what each part of the method is worth, by leaving one out or putting another in.

    python benchmarks/no_training_tried.py [--net LeNet] [--settings "1x4 75 %" "75 %"] [--weights DIR]

For each choice and setting: points of test accuracy below the dense net, and how far its answers diverge from the
dense net's (Kullback-Leibler, test set). Read the second: one test set is good for 0.2 points. One seed; a minute or
two for LeNet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Iterator
from unittest import mock

import numpy as np
from dense_nets import NETS, Split, data_for, trained
from no_training import BATCH, CACHE, ROOT, SAMPLES, SETTINGS, read

RESULTS = ROOT / "benchmarks" / "results" / "no_training_tried.jsonl"
CHOICES = (
    "as it is",
    "outputs count alike, magnitudes are ranked",
    "outputs count alike",
    "magnitudes are ranked",
    "Gauss-Newton alone",
    "Fisher alone",
    "no moved images",
    "six moved images of each",
    "Global",
    "Uniform",
    "1,024 images",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    parser.add_argument("--net", choices=NETS, default="LeNet")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["1x4 75 %", "1x4 50 %", "75 %"])
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--weights", type=Path, default=CACHE, help=f"folder of the dense nets (default: {CACHE})")
    args = parser.parse_args()
    if not args.table:
        run(args)
    print(table(args.net, args.settings))


def run(args: argparse.Namespace) -> None:
    import paddle

    paddle.enable_static()
    train, test = data_for(NETS[args.net], args.data_dir)
    path = trained(args.net, 0, train, args.weights)
    done = {(line["net"], line["choice"], line["setting"]) for line in read(RESULTS)}
    for choice in CHOICES:
        for setting in args.settings:
            if (args.net, choice, setting) in done:
                continue
            line = {
                "net": args.net,
                "choice": choice,
                "setting": setting,
                **_measured(path, choice, setting, train, test),
            }
            print(json.dumps(line), file=sys.stderr, flush=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _measured(path: Path, choice: str, setting: str, train: Split, test: Split) -> dict[str, float]:
    from paddle_unstructured import Global, Uniform, reconstruct
    from paddle_unstructured.saved_model import open_model

    count = 1024 if choice == "1,024 images" else SAMPLES
    samples = train.inputs[np.random.default_rng(0).choice(len(train.inputs), count, replace=False)]
    words = dict(SETTINGS[setting])
    if choice in ("Global", "Uniform"):
        words["allocation"] = {"Global": Global(), "Uniform": Uniform()}[choice]
    dense, model = open_model(path), open_model(path)
    batches = [{model.feeds[0]: samples[i : i + BATCH]} for i in range(0, count, BATCH)]
    with _instead(choice):
        pruned = reconstruct(model, batches, **words).model
    a, b = (_answers(m, test.inputs) for m in (dense, pruned))
    lost = float((a.argmax(1) == test.labels).mean() - (b.argmax(1) == test.labels).mean())
    p, q = (_log_softmax(z) for z in (a, b))
    return {"lost": round(100 * lost, 2), "divergence": round(float((np.exp(p) * (p - q)).sum(1).mean()), 4)}


@contextlib.contextmanager
def _instead(choice: str) -> Iterator[None]:
    """The library with one part of it left out or another put in."""
    from paddle_unstructured.reconstruction import reconstruct as whole
    from paddle_unstructured.reconstruction import samples, worth

    def none(*args: Any, **words: Any) -> Any:
        return None

    def alike(self: Any, layer: Any) -> np.ndarray:
        return np.ones((1, 1, 1), np.float32)

    drawn = worth._random
    patches = {
        "outputs count alike, magnitudes are ranked": [mock.patch.object(whole, "worth_of", lambda *a, **w: {})],
        "outputs count alike": [mock.patch.object(worth.Worth, "scale", alike)],
        "magnitudes are ranked": [mock.patch.object(whole, "Damage", none)],
        "Gauss-Newton alone": [mock.patch.object(worth, "_random", lambda z, size, kind, r: drawn(z, size, 0, r))],
        "Fisher alone": [mock.patch.object(worth, "_random", lambda z, size, kind, r: drawn(z, size, 1, r))],
        "no moved images": [mock.patch.object(samples, "_COPIES", 0)],
        "six moved images of each": [mock.patch.object(samples, "_COPIES", 6)],
    }
    with contextlib.ExitStack() as stack:
        for patch in patches.get(choice, ()):
            stack.enter_context(patch)
        yield


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(1, keepdims=True)
    found: np.ndarray = z - np.log(np.exp(z).sum(1, keepdims=True))
    return found


def _answers(model: Any, inputs: np.ndarray) -> np.ndarray:
    parts = [model.run(**{model.feeds[0]: inputs[i : i + 500]})[0] for i in range(0, len(inputs), 500)]
    return np.concatenate(parts).astype(np.float64)


def table(net: str, settings: list[str]) -> str:
    known = {(line["choice"], line["setting"]): line for line in read(RESULTS) if line["net"] == net}
    rows = [f"| {net} | " + " | ".join(settings) + " |", "|---|" + "---|" * len(settings)]
    for choice in CHOICES:
        found = [known.get((choice, setting)) for setting in settings]
        cells = [f"{line['lost']:.2f}, {line['divergence']:.4f}" if line else "" for line in found]
        if any(cells):
            rows.append(f"| {choice} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
