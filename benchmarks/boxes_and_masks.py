# SPDX-License-Identifier: Apache-2.0
"""Detection and segmentation from training to a fast model: a table of metric, file and time.

    python benchmarks/boxes_and_masks.py [--nets YOLOv3] [--seeds 0 1] [--minutes 12]    # goes on where it stopped
    python benchmarks/boxes_and_masks.py --time [--nets YOLOv3] [--rounds 12]    # engines in turn, one thread each
    python benchmarks/boxes_and_masks.py --table

PicoDet, YOLOv3-MobileNetV1 and PP-HumanSeg-Lite of small widths on generated scenes of 64 x 64 pixels, objects of
three kinds of digits. Per seed a net is trained densely, a detector for 16 epochs of 100 steps; each row has 4 epochs
more (masks: 6, then 2), from these weights, at half of the rate, by demo/train.py with its own flags. Metrics
are those of the converted model in a Session on all test scenes: mAP (IoU 0.5 to 0.95, NMS in numpy), mIoU. Files are
what a Session reads, dense: the exported model. Engines get the same net up to NMS. Every run is one line of
results/boxes_and_masks.jsonl. About an hour of one idle core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo"), str(ROOT / "benchmarks")]
RESULTS = ROOT / "benchmarks" / "results" / "boxes_and_masks.jsonl"
SIZE, KINDS, TRAIN, TEST, BATCH = 64, 3, 1600, 400, 16
CALIBRATION = 128  # training scenes


@dataclass(frozen=True)
class Net:
    """What is trained, and how: epochs of the dense net, and of each row after it."""

    model: str
    data: str
    width: float
    rate: float
    dense_epochs: int
    epochs: int


NETS = (
    Net("YOLOv3", "scene_boxes", 0.25, 0.01, 16, 4),
    Net("HumanSeg", "scenes", 0.25, 0.05, 6, 2),
    Net("PicoDet", "scene_boxes", 0.25, 0.02, 16, 4),
)
GMP = ("--pruning_strategy", "gmp", "--ratio", "0.75", "--prune_params_type", "conv1x1_only", "--pruning_steps", "20")
THRESHOLD = "below a threshold"
PRUNED_AT = 0.565  # of the dense weights are below it: YOLOv3's published sparsity
ROWS = {
    "dense": ("--pruning_strategy", "dense"),
    THRESHOLD: ("--pruning_strategy", "base", "--pruning_mode", "threshold"),
    "75 % of 1x1, GMP": GMP,
    "75 % of 1x1, [2,1], GMP": (*GMP, "--sparse_block", "2", "1"),
    "75 %, 1x4, recipe": ("--recipe", "best", "--ratio", "0.75", "--block", "1x4"),
    "the same, int8": (),  # converted once more
}
INT8, ITS_FLOAT = "the same, int8", "75 %, 1x4, recipe"
# column -> engine of speed/rivals.py, ending of the dense net's file
RIVALS = {
    "ONNX Runtime": ("ONNX Runtime", ".onnx"),
    "OpenVINO float32": ("OpenVINO fixed", ".onnx"),
    "OpenVINO default": ("OpenVINO fixed default", ".onnx"),
    "ONNX Runtime int8": ("ONNX Runtime int8", "_qdq.onnx"),
    "OpenVINO int8": ("OpenVINO fixed default", "_nncf.xml"),
}


class Bench:
    """Runs, and what is known of them.

    Args:
        folder: of the scenes, the runs and the converted models.
        deadline: after which no training begins, as time.monotonic() counts.
    """

    def __init__(self, folder: Path, deadline: float) -> None:
        self.folder, self.deadline = folder, deadline
        self.lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []

    def keep(self, **line: Any) -> None:
        from versus.pool import commit

        self.lines.append({**line, "commit": commit()})
        with RESULTS.open("a") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")

    def known(self, **key: Any) -> dict[str, Any] | None:
        return next((line for line in self.lines if key.items() <= line.items()), None)

    def run(self, net: Net, seed: int, row: str) -> Path:
        return self.folder / f"{net.model}_{seed}_{list(ROWS).index(row) if row else 'start'}"

    def train(self, net: Net, seed: int, row: str) -> bool:
        """Train one row, or with the name "" what the rows start from; False if the time is over."""
        out = self.run(net, seed, row)
        if (out / "inference").is_dir():
            return True
        if time.monotonic() > self.deadline:
            return False
        words = [f"--model={net.model}", f"--data={net.data}", f"--width={net.width}", f"--image_size={SIZE}"]
        words += [f"--data_dir={self.folder / 'scenes'}", f"--batch_size={BATCH}", f"--model_path={out}"]
        words += ["--model_period=1", "--test_period=100", f"--seed={seed if not row else 500 + seed}"]
        if row:
            start = self.run(net, seed, "")
            words += [*ROWS[row], f"--pretrained_model={start}", f"--num_epochs={net.epochs}", f"--lr={net.rate / 2}"]
            words += ["--threshold", threshold(start)] if row == THRESHOLD else []
        else:
            words += ["--pruning_strategy=dense", f"--num_epochs={net.dense_epochs}", f"--lr={net.rate}"]
        if any(out.glob("epoch_*")):
            words = ["--checkpoint", str(out), f"--data_dir={self.folder / 'scenes'}"]
        run_demo("train.py", *words)
        return True

    def finish(self, net: Net, seed: int, row: str) -> None:
        """Convert the trained row, judge it in a Session, and write that down."""
        from paddle_unstructured.runtime import Int8, convert

        if self.known(net=net.model, seed=seed, row=row):
            return
        model = exported(self.run(net, seed, ITS_FLOAT if row == INT8 else row))
        fast = self.fast(net, seed, row)
        images, labels = scenes(self.folder, net, "test")
        convert(
            str(model),
            str(fast),
            int8=Int8(scenes(self.folder, net, "train")[0][:CALIBRATION]) if row == INT8 else None,
        )
        found = judge(net, fast, images, labels)
        state = json.loads((model.parent / "state.json").read_text())
        metric = "miou" if net.data == "scenes" else "map"
        size = on_disk(model if row == "dense" else fast)
        sparsity = state["history"][-1]["sparsity"]
        self.keep(net=net.model, seed=seed, row=row, metric=found[metric], bytes=size, sparsity=sparsity)

    def fast(self, net: Net, seed: int, row: str) -> Path:
        return self.run(net, seed, row).with_suffix(".fast") / "model"


def run_demo(script: str, *words: str) -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "demo" / script), *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_minloglevel": "2"})


def exported(run: Path) -> Path:
    """Prefix of the model up to NMS, if there is one."""
    before = run / "before_nms"
    return (before if before.is_dir() else run / "inference") / "model"


def threshold(run: Path) -> str:
    """The magnitude below which `PRUNED_AT` of the weights of a run's last epoch are."""
    import paddle
    from checkpoints import find_weights

    weights = paddle.load(str(find_weights(run)), return_numpy=True).values()
    magnitudes = np.concatenate([np.abs(np.asarray(one)).ravel() for one in weights if np.ndim(one) > 1])
    return f"{np.quantile(magnitudes, PRUNED_AT):.4g}"


def scenes(folder: Path, net: Net, split: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Images as the net sees them, and labels."""
    from data import load_source

    source = load_source(net.data, str(folder / "scenes"), split, SIZE)
    images, *labels = source.fetch(np.arange(len(source)), None)
    return images, labels


def judge(net: Net, model: Path, images: np.ndarray, labels: Sequence[np.ndarray]) -> dict[str, float]:
    """The task's score of what a Session answers."""
    from dataclasses import replace

    import nms
    from data import SPECS

    from paddle_unstructured.runtime import Session

    score = replace(SPECS[net.data], image_shape=(3, SIZE, SIZE)).task(net.model).score()
    session = Session(str(model), threads=1)
    for i in range(0, len(images), BATCH):
        part = slice(i, i + BATCH)
        answers = session.run(images[part])
        score.add(nms.choose(*answers) if net.data == "scene_boxes" else answers, [each[part] for each in labels])
    return score.result()


def on_disk(prefix: Path) -> int:
    return sum(file.stat().st_size for file in prefix.parent.glob(f"{prefix.name}.*") if file.suffix != ".txt")


def times(bench: Bench, nets: Sequence[Net], rounds: int) -> None:
    """Milliseconds of one scene: our rows of seed 0, and the dense net in other engines, in turn."""
    from speed.measuring import Worker, in_turns
    from speed.tables import processor

    for net in nets:
        prefix = bench.folder / f"{net.model}_dense"
        inputs = f"{prefix}_inputs.npz"
        files = {row: ("ours", str(bench.fast(net, 0, row))) for row in ROWS}
        files |= {name: (engine, f"{prefix}{ending}") for name, (engine, ending) in RIVALS.items()}
        files = {
            name: (engine, file) for name, (engine, file) in files.items() if engine == "ours" or Path(file).exists()
        }
        workers = {
            name: Worker.start(sys.executable, engine, file, 1, 1, "wall", inputs)
            for name, (engine, file) in files.items()
        }
        running = {name: worker for name, worker in workers.items() if worker}
        in_turns(list(running.values()), rounds)
        found = {name: 1000 * min(worker.seconds) for name, worker in running.items()}
        bench.keep(net=net.model, times=found, processor=processor())


def prepare(bench: Bench, nets: Sequence[Net]) -> None:
    """Write the dense nets as the other engines read them."""
    from covered.rival_files import to_nncf, to_onnx, to_qdq

    for net in nets:
        prefix = bench.folder / f"{net.model}_dense"
        images = scenes(bench.folder, net, "train")[0][:CALIBRATION]
        np.savez(f"{prefix}_inputs.npz", images[:1])
        samples = [{"image": image[None]} for image in images]
        for ending, write in (
            (".onnx", lambda out: to_onnx(str(exported(bench.run(net, 0, "dense"))), out)),
            ("_qdq.onnx", lambda out: to_qdq(f"{prefix}.onnx", out, samples)),
            ("_nncf.xml", lambda out: to_nncf(f"{prefix}.onnx", out, samples, tokens=False)),
        ):
            try:
                if not Path(f"{prefix}{ending}").exists():
                    write(f"{prefix}{ending}")
            except Exception as error:  # a converter that does not know an op: that engine has no column
                print(f"{net.model}{ending}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def table(lines: list[dict[str, Any]]) -> str:
    rows = ["| net | | metric | zeros | file | one scene | best dense engine |", "|---|---|---|---|---|---|---|"]
    for net in NETS:
        timed = next((line["times"] for line in reversed(lines) if line["net"] == net.model and "times" in line), {})
        rivals = {name: ms for name, ms in timed.items() if name in RIVALS}
        for row in ROWS:
            found = [line for line in lines if line["net"] == net.model and line.get("row") == row]
            if not found:
                continue
            kind = [name for name in rivals if ("int8" in name) == (row == INT8)]
            best = min(kind, key=rivals.get) if kind else ""
            metrics = " ".join(f"{100 * line['metric']:.1f}" for line in sorted(found, key=lambda line: line["seed"]))
            ours = f"{timed[row]:.3f} ms" if row in timed else ""
            beside = f"{rivals[best]:.3f} ms, {best}" if best else ""
            zeros = f"{100 * np.mean([line['sparsity'] for line in found]):.0f} %"
            size = f"{np.mean([line['bytes'] for line in found]) / 1000:.0f} kB"
            rows.append(f"| {net.model} | {row} | {metrics} | {zeros} | {size} | {ours} | {beside} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [net.model for net in NETS]
    parser.add_argument("--nets", nargs="+", default=names, choices=names, help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmark_scenes", help="of all that is made")
    parser.add_argument("--minutes", type=float, default=1e9, help="no training begins later (default: no limit)")
    parser.add_argument("--prepare", action="store_true", help="write what --time needs, and time nothing")
    parser.add_argument("--time", action="store_true", help="time the rows of seed 0 and other engines")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    args = parser.parse_args()
    bench = Bench(args.folder, time.monotonic() + 60 * args.minutes)
    nets = [net for net in NETS if net.model in args.nets]
    if args.prepare or args.time:
        prepare(bench, nets)
        if args.time:
            times(bench, nets, args.rounds)
    elif not args.table and not train_all(bench, nets, args.seeds):
        return 3
    print(table(bench.lines))
    return 0


def train_all(bench: Bench, nets: Sequence[Net], seeds: Sequence[int]) -> bool:
    """Whether all is done."""
    import paddle

    paddle.enable_static()
    if not (bench.folder / "scenes" / "test.npz").exists():
        words = ("--data", "digits", "--kinds", KINDS, "--size", SIZE, "--train", TRAIN, "--test", TEST)
        run_demo("make_scenes.py", str(bench.folder / "scenes"), *map(str, words))
    for seed in seeds:
        for net in nets:
            for row in ("", *ROWS):
                if row != INT8 and not bench.train(net, seed, row):
                    return False
                if row:
                    bench.finish(net, seed, row)
    return True


if __name__ == "__main__":
    sys.exit(main())
