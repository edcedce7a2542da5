# SPDX-License-Identifier: Apache-2.0
"""Accuracy with few bits, through both doors: the table of docs/qat.md, "What few bits cost".

    python benchmarks/quantizers.py [--images 6000] [--epochs 4] [--seeds 2] [--results FILE]

LeNet on Fashion-MNIST. A dense net is trained for half of the epochs, and every row goes on from its weights for the
other half: with float32, with 8, 4 or 2 bits, with 4 bits and 75 % of the weights pruned, as DoReFa 1-2-32, with
binary weights, and as BNN, with the first and the last layer in float32, as the papers do it. A sign behind a ReLU is
always 1: BNN has a LeNet of its own, with batch norm and hardtanh before every binary layer. The same optimizer,
order of images and epochs in a static Program and on an nn.Layer. Top-1 on all 10,000 test images, of the net as it
rounds. Each row of each seed is one line of FILE, and is not run again. Takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
BATCH, RATE = 64, 0.02
DOORS = ("static", "dygraph")


def rows() -> dict[str, tuple[Any, float, str]]:
    """Name -> entries of the config, the sparsity, and the net."""
    from paddle_unstructured import BinaryQuantizer, DoReFaQuantizer

    both = {"quant_types": ["weight", "input"]}
    inner = {"exclude": True}  # gets the names of the first and the last layer
    return {
        "float32": (None, 0.0, "relu"),
        "8 bits": ([{"quant_bits": 8}], 0.0, "relu"),
        "4 bits": ([{"quant_bits": 4}], 0.0, "relu"),
        "2 bits": ([{"quant_bits": 2}], 0.0, "relu"),
        "4 bits, 75 % zeros": ([{"quant_bits": 4}], 0.75, "relu"),
        "DoReFa 1-2-32": ([dorefa(DoReFaQuantizer()), inner], 0.0, "relu"),
        "DoReFa 1-2-6": ([dorefa(DoReFaQuantizer(gradient_bits=6)), inner], 0.0, "relu"),
        "binary weights, scaled": ([{"quantizer": BinaryQuantizer(), "quant_types": ["weight"]}, inner], 0.0, "relu"),
        "float32, hardtanh": (None, 0.0, "hardtanh"),
        "BNN": ([{"quantizer": BinaryQuantizer(scaled=False), **both}, inner], 0.0, "hardtanh"),
        "XNOR-Net": ([{"quantizer": BinaryQuantizer(), **both}, inner], 0.0, "hardtanh"),
    }


def dorefa(quantizer: Any) -> dict[str, Any]:
    return {"quantizer": quantizer, "quant_bits": {"weight": 1, "input": 2}, "quant_types": ["weight", "input"]}


def config_for(config: Any, names: list[str]) -> Any:
    """The entries with the names of first and last layer as this door has them."""
    if config is None:
        return None
    ends = [names[0], names[-1]]
    return [{**entry, "op_names": ends} if entry.get("exclude") else entry for entry in config]


class Data:
    def __init__(self, images: int) -> None:
        from data import load_source

        train, test = (load_source("fashion_mnist", None, split) for split in ("train", "test"))
        rng = np.random.default_rng(0)
        self.train = train.fetch(np.arange(images), rng)
        self.test = test.fetch(np.arange(len(test)), None)

    def batches(self, seed: int, epochs: int) -> Any:
        images, labels = self.train
        for epoch in range(epochs):
            order = np.random.default_rng((seed, epoch)).permutation(len(images))
            for start in range(0, len(order) - BATCH + 1, BATCH):
                chosen = order[start : start + BATCH]
                yield images[chosen].astype("float32"), labels[chosen].reshape(-1, 1).astype("int64")


def dense_weights(kind: str, seed: int, data: Data, epochs: int) -> list[np.ndarray]:
    """Of the net that all rows go on from, in the order of its parameters."""
    import paddle

    paddle.disable_static()
    net = make_net(kind, seed)
    train_layer(net, data.batches(seed, epochs), None)
    return [value.numpy() for value in net.state_dict().values()]


def make_net(kind: str, seed: int) -> Any:
    import paddle
    from models import build_model
    from paddle import nn

    paddle.seed(seed)
    if kind == "relu":
        return build_model("LeNet", image_shape=(1, 28, 28), classes=10, width=1.0)
    pooled, squashed = nn.MaxPool2D(2), nn.Hardtanh()
    first = [nn.Conv2D(1, 6, 5, padding=2), pooled, nn.BatchNorm2D(6), squashed]
    second = [nn.Conv2D(6, 16, 5), pooled, nn.BatchNorm2D(16), squashed, nn.Flatten()]
    third = [nn.Linear(400, 120), nn.BatchNorm1D(120), squashed, nn.Linear(120, 84), nn.BatchNorm1D(84), squashed]
    return nn.Sequential(*first, *second, *third, nn.Linear(84, 10))


def train_layer(net: Any, batches: Any, pruner: Any) -> None:
    import paddle

    optimizer = paddle.optimizer.Momentum(RATE, parameters=net.parameters())
    if pruner is not None:
        pruner.watch(optimizer)
    net.train()
    for images, labels in batches:
        loss = paddle.nn.functional.cross_entropy(net(paddle.to_tensor(images)), paddle.to_tensor(labels))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if pruner is not None:
            pruner.step()


def run_dygraph(weights: list[np.ndarray], batches: Any, row: tuple[Any, float, str], data: Data, seed: int) -> float:
    import paddle

    from paddle_unstructured import UnstructuredPruner, quantize_aware

    paddle.disable_static()
    config, sparsity, kind = row
    net = make_net(kind, seed)
    for value, values in zip(net.state_dict().values(), weights):
        value.set_value(values)
    names = [name for name, parameter in net.named_parameters() if parameter.ndim > 1]
    if config is not None:
        quantize_aware(net, config_for(config, names))
    pruner = UnstructuredPruner(net, ratio=sparsity) if sparsity else None
    train_layer(net, batches, pruner)
    net.eval()
    images, labels = data.test
    hits = 0
    for start in range(0, len(images), 500):
        answers = net(paddle.to_tensor(images[start : start + 500].astype("float32"))).numpy().argmax(1)
        hits += int((answers == labels[start : start + 500].reshape(-1)).sum())
    return 100 * hits / len(images)


def run_static(weights: list[np.ndarray], batches: Any, row: tuple[Any, float, str], data: Data, seed: int) -> float:
    import paddle

    from paddle_unstructured import UnstructuredPruner, quantize_aware, test_program

    paddle.enable_static()
    config, sparsity, kind = row
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    exe = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope), paddle.utils.unique_name.guard():
        with paddle.static.program_guard(main, startup):
            image = paddle.static.data("image", [None, 1, 28, 28])
            label = paddle.static.data("label", [None, 1], "int64")
            net = make_net(kind, seed)
            logits = net(image)
            test, (answers,) = test_program(main, [logits])
            variables = [value.name for value in net.state_dict().values()]
            names = [parameter.name for parameter in net.parameters() if len(parameter.shape) > 1]
            if config is not None:
                quantize_aware(main, config_for(config, names))
                quantize_aware(test, config_for(config, names), training=False)
            loss = paddle.nn.functional.cross_entropy(logits, label)
            paddle.optimizer.Momentum(RATE).minimize(loss)
        exe.run(startup)
        for name, values in zip(variables, weights):
            scope.find_var(name).get_tensor().set(values, paddle.CPUPlace())
        pruner = UnstructuredPruner(main, ratio=sparsity, scope=scope) if sparsity else None
        for images, labels in batches:
            exe.run(main, feed={"image": images, "label": labels}, fetch_list=[loss])
            if pruner is not None:
                pruner.step()
        images, labels = data.test
        hits = 0
        for start in range(0, len(images), 500):
            (found,) = exe.run(
                test, feed={"image": images[start : start + 500].astype("float32")}, fetch_list=[answers]
            )
            hits += int((found.argmax(1) == labels[start : start + 500].reshape(-1)).sum())
    return 100 * hits / len(images)


def table(results: list[dict[str, Any]]) -> str:
    lines = ["| | static | dygraph |", "|---|---|---|"]
    for name in dict.fromkeys(one["row"] for one in results):
        cells = []
        for door in DOORS:
            found = [one["top1"] for one in results if one["row"] == name and one["door"] == door]
            cells.append(" ".join(f"{top1:.2f}" for top1 in found))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000, help="of the training set (default: 6000)")
    parser.add_argument("--epochs", type=int, default=4, help="in all; half of them rounded (default: 4)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "quantizers.jsonl")
    args = parser.parse_args()
    results = [json.loads(line) for line in args.results.read_text().splitlines()] if args.results.exists() else []
    done = {(one["row"], one["door"], one["seed"], one["images"], one["epochs"]) for one in results}
    data, runs = Data(args.images), {"static": run_static, "dygraph": run_dygraph}
    for seed in range(args.seeds):
        weights: dict[str, list[np.ndarray]] = {}
        for name, row in rows().items():
            for door in DOORS:
                if (name, door, seed, args.images, args.epochs) in done:
                    continue
                if row[2] not in weights:
                    weights[row[2]] = dense_weights(row[2], seed, data, args.epochs // 2)
                batches = data.batches(100 + seed, args.epochs - args.epochs // 2)
                top1 = runs[door](weights[row[2]], batches, row, data, seed)
                results.append(
                    {
                        "row": name,
                        "door": door,
                        "seed": seed,
                        "images": args.images,
                        "epochs": args.epochs,
                        "top1": top1,
                    }
                )
                with args.results.open("a") as file:
                    file.write(json.dumps(results[-1]) + "\n")
                print(f"{name}, {door}, seed {seed}: {top1:.2f}", file=sys.stderr)
    print(table([one for one in results if (one["images"], one["epochs"]) == (args.images, args.epochs)]))


if __name__ == "__main__":
    main()
