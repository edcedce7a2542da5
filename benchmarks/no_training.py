# SPDX-License-Identifier: Apache-2.0
"""Pruning without training: accuracy by method, pattern and sparsity, beside the bars that it is held to.

    python benchmarks/no_training.py [--nets LeNet ...] [--seeds 3] [--methods reconstruct ...] [--weights DIR]
    python benchmarks/no_training.py --table    # what has been run

Small nets are trained here first (`dense_nets.py`) and kept in DIR. Every row prunes one of them on the same 256
training inputs, without labels, and answers the whole test set; it is a line of benchmarks/results/no_training.jsonl,
and what is there is not run again. Everything takes some hours of one core; a MobileNet is most of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from dense_nets import NETS, Split, data_for, right, trained

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "paddle_unstructured" / "no_training"
SAMPLES, BATCH = 256, 32

SETTINGS: dict[str, dict[str, Any]] = {
    "50 %": {"ratio": 0.5},
    "75 %": {"ratio": 0.75},
    "90 %": {"ratio": 0.9},
    "2:4": {"pattern": "2:4"},
    "1x4 50 %": {"ratio": 0.5, "pattern": "1x4"},
    "1x4 75 %": {"ratio": 0.75, "pattern": "1x4"},
    "2x1 50 %": {"ratio": 0.5, "pattern": "2x1"},
    "2x1 75 %": {"ratio": 0.75, "pattern": "2x1"},
}
_EASY = {"50 %": 0.5, "75 %": 1.0, "2:4": 0.5, "1x4 50 %": 0.5, "1x4 75 %": 2.0, "2x1 50 %": 0.5, "2x1 75 %": 2.0}
BARS: dict[str, dict[str, float]] = {  # points below the dense net that are allowed
    "LeNet": _EASY,
    "ResNet-8": _EASY,
    "MobileNetV1 0.25": {
        "50 %": 0.5,
        "75 %": 2.5,
        "90 %": 8.0,
        "2:4": 3.5,
        "1x4 50 %": 1.5,
        "1x4 75 %": 6.0,
        "2x1 50 %": 1.0,
        "2x1 75 %": 5.5,
    },
    "ViT-tiny": {"50 %": 1.0, "2:4": 2.0},
    "sentences": {"50 %": 1.0, "2:4": 2.0},
}
METHODS = ("magnitude", "recalibrate", "InputNorm", "made images", "layers", "reconstruct")
HEADINGS = {
    "recalibrate": "+ batch norms anew",
    "InputNorm": "`InputNorm` (Wanda)",
    "made images": "reconstruction on `random`",
    "layers": "layer by layer alone",
    "reconstruct": "reconstruction",
}
NORMED = ("ResNet-8", "MobileNetV1 0.25")  # have batch norms to measure anew


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="default: all")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="default: all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="nets of each kind (default: 3)")
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--weights", type=Path, default=CACHE, help=f"folder of the dense nets (default: {CACHE})")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "no_training.jsonl")
    args = parser.parse_args()
    if not args.table:
        run(args)
    print(table(read(args.results), args.nets))


def run(args: argparse.Namespace) -> None:
    """Everything that has no line yet."""
    import paddle

    paddle.enable_static()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for name in args.nets:
            done = {key(line) for line in read(args.results)}
            methods = [m for m in args.methods if m in _fitting(name)]
            cells = [("dense", "", seed, name), *((m, s, seed, name) for s in args.settings for m in methods)]
            cells = [cell for cell in cells if cell not in done]
            if not cells:
                continue
            train, test = data_for(NETS[name], args.data_dir)
            model = trained(name, seed, train, args.weights)
            samples = train.inputs[np.random.default_rng(0).choice(len(train.inputs), SAMPLES, replace=False)]
            for method, setting, *_ in cells:
                line = {"net": name, "seed": seed, "setting": setting, "method": method}
                line.update(measured(model, method, SETTINGS.get(setting, {}), samples, test))
                print(json.dumps(line), file=sys.stderr, flush=True)
                with args.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


def _fitting(name: str) -> list[str]:
    """The methods that a net can be pruned by."""
    without = {"recalibrate"} if name not in NORMED else set()
    return [m for m in METHODS if m not in without | ({"made images"} if NETS[name].text else set())]


def measured(path: Path, method: str, words: dict[str, Any], samples: np.ndarray, test: Split) -> dict[str, Any]:
    """Accuracy of a net that one method has pruned, and what that took."""
    from paddle_unstructured.saved_model import open_model

    model = open_model(path)
    batches = [{model.feeds[0]: samples[i : i + BATCH]} for i in range(0, len(samples), BATCH)]
    started, found = time.perf_counter(), {}
    if method == "InputNorm":
        _by_input_norm(model, batches, select=_multiplied, **words)
    elif method != "dense":
        from paddle_unstructured import reconstruct
        from paddle_unstructured.reconstruction.made import norms_of_made_inputs

        is_made = method == "made images"
        if is_made:  # what `--calibrate random` makes
            from paddle_unstructured.export.images import ImageInput, made_images
            from paddle_unstructured.reconstruction.familiarity import as_remembered

            (feed,), method = model.feeds, "reconstruct"
            made = as_remembered(model, feed, made_images(ImageInput.of(model, None), SAMPLES), 1)
            batches = [{feed: made[i : i + BATCH]} for i in range(0, SAMPLES, BATCH)]
        steps = 0 if method == "layers" else None  # of moving all weights together
        method = "reconstruct" if method == "layers" else method
        with norms_of_made_inputs(model, batches) if is_made else nullcontext():
            done = reconstruct(model, batches, method=method, steps=steps, select=_multiplied, **words)
        model, found = done.model, {"agreement": done.agreement, "error": round(done.error, 4)}
    seconds = time.perf_counter() - started
    return {"accuracy": right(model, test), **found, "seconds": round(seconds, 1)}


def _multiplied(param: Any) -> bool:
    """Weights that are multiplied; an embedding is looked up, and stays dense."""
    return bool(param.role != "embedding")


def _by_input_norm(model: Any, batches: list[dict[str, np.ndarray]], **words: Any) -> None:
    """Wanda: scores of |w| times the norm of inputs, and no change to what stays."""
    import paddle

    from paddle_unstructured import LAMP, InputNorm, UnstructuredPruner

    if "ratio" in words:
        words["allocation"] = LAMP()
    pruner = UnstructuredPruner(
        model.program, scope=model.scope, place=model.place, criterion=InputNorm(batches=len(batches)), **words
    )
    for batch in batches:
        paddle.static.Executor(model.place).run(model.program, feed=batch, scope=model.scope)
        pruner.step()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def key(line: dict[str, Any]) -> tuple[str, str, int, str]:
    return line["method"], line["setting"], line["seed"], line["net"]


def table(lines: list[dict[str, Any]], nets: list[str]) -> str:
    """For each net: points below dense by setting and method, the bar, and whether it is met."""
    known = {key(line): line for line in lines}
    parts = []
    for net in nets:
        seeds = sorted(seed for method, _, seed, name in known if (method, name) == ("dense", net))
        if not seeds:
            continue
        dense = [100 * known["dense", "", seed, net]["accuracy"] for seed in seeds]
        methods = _fitting(net)
        names = [HEADINGS.get(m, m) for m in methods]
        rows = [f"**{net}**, dense {_spread(dense)}, seeds: {len(seeds)}; points below it:\n"]
        rows += [f"| | {' | '.join(names)} | bar | |", "|---|" + "---|" * (len(names) + 2)]
        for setting in SETTINGS:
            cells, lost = [], []
            for method in methods:
                own = [(seed, known.get((method, setting, seed, net))) for seed in seeds]
                lost = [dense[i] - 100 * line["accuracy"] for i, (_, line) in enumerate(own) if line]
                cells.append(_spread(lost) if lost else "")
            bar = BARS[net].get(setting)
            met = "" if bar is None or not lost else "met" if statistics.mean(lost) <= bar else "missed"
            rows.append(f"| {setting} | {' | '.join(cells)} | {'' if bar is None else bar} | {met} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
