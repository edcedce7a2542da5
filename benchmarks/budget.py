# SPDX-License-Identifier: Apache-2.0
"""Pruning to a budget in milliseconds: predicted beside measured time, and what else that time could have bought.

    python benchmarks/budget.py train [--nets ...]       # nets on Fashion-MNIST, kept in --weights
    python benchmarks/budget.py time  [--nets ...]       # clocks layers; wants a quiet machine: taskset -c 1 python ...
    python benchmarks/budget.py prune [--nets ...]       # to the budget, and by others to the same predicted time
    python benchmarks/budget.py measure [--nets ...]     # clocks what was pruned, in turn; wants a quiet machine
    python benchmarks/budget.py room [--nets ...]        # errors in trials: more of them, and a long local search
    python benchmarks/budget.py predict [--sizes ...]    # the clock alone, on nets of usual size; wants a quiet machine
    python benchmarks/budget.py                          # the tables of what has been run

Each net is pruned without training on 256 images. Other allocations (one sparsity for all layers, the global race,
LAMP) get the least sparsity at which the same times of layers predict what the budget takes. All are then converted
and run in turn; errors are |outputs - dense outputs| / |dense outputs| on 1,000 test images. `predict` takes nets of
random weights, as fast as trained ones; layers are chosen by the energy of the weights that fall, without data. Every
step adds lines to benchmarks/results/budget.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import numpy as np
from dense_nets import NETS as SMALL
from dense_nets import DenseNet, Split, data_for, right, trained

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "paddle_unstructured" / "no_training"
SAMPLES, BATCH, JUDGED = 256, 32, 1000
STEPS = ("train", "time", "prune", "measure", "room", "prepare", "predict", "table")
MOVES = 200  # of the local search
OTHERS = ("Uniform", "Global", "LAMP")


@dataclass(frozen=True)
class Case:
    """A net and what is asked of it.

    Attributes:
        net: how it is trained.
        speedup: of the budget, in float32 and single weights.
        int8: of the budget in int8 and blocks of 1x4; None where it is not run.
        scale: each pixel is repeated so often along both axes.
        images: training images; None: all.
    """

    net: DenseNet
    speedup: float
    int8: float | None = None
    scale: int = 1
    images: int | None = None


def _mobilenet() -> Any:
    from models import MobileNet

    return MobileNet(1, 10)


def _mobilenet_v2() -> Any:
    from models.mobilenet_v2 import MobileNetV2

    return MobileNetV2(1, 10)


def _resnet18() -> Any:
    from models.resnet import Basic, ResNet

    return ResNet(Basic, (2, 2, 2, 2), 1, 10)


CASES = {
    "LeNet": Case(SMALL["LeNet"], 1.08, 1.05),
    "MobileNetV1 0.25": Case(SMALL["MobileNetV1 0.25"], 1.25),
    "ResNet-8": Case(SMALL["ResNet-8"], 1.15, 1.05),
    "ViT-tiny": Case(SMALL["ViT-tiny"], 1.2),
    "MobileNetV1": Case(DenseNet(_mobilenet, 1, 0.002, batch=32), 2.0, 2.0, 2, 2000),
    "MobileNetV2": Case(DenseNet(_mobilenet_v2, 1, 0.002, batch=32), 1.5, None, 2, 2000),
    "ResNet-18": Case(DenseNet(_resnet18, 1, 0.001, batch=32), 2.5, 2.0, 2, 2000),
}


SIZES: dict[str, tuple[Callable[[], Any], list[int], float]] = {  # net, shape of its input, speedup
    "LeNet @28": (SMALL["LeNet"].build, [1, 1, 28, 28], 1.08),
    "MobileNetV1 @128": (_mobilenet, [1, 1, 128, 128], 2.0),
    "MobileNetV2 @128": (_mobilenet_v2, [1, 1, 128, 128], 1.5),
    "ResNet-18 @64": (_resnet18, [1, 1, 64, 64], 2.5),
    "DeiT-tiny @224": (lambda: _architecture("DeiT"), [1, 3, 224, 224], 2.0),
}


def _architecture(name: str) -> Any:
    from architectures import tokens

    return getattr(tokens, name)()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=STEPS, default="table")
    parser.add_argument("--nets", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES), help="of predict; default: all")
    parser.add_argument("--int8", action="store_true", help="in int8 and blocks of 1x4, instead of float32")
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--weights", type=Path, default=CACHE, help=f"folder of the nets (default: {CACHE})")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "budget.jsonl")
    args = parser.parse_args()
    if args.what == "table":
        print(tables(read(args.results)))
        return
    import paddle

    paddle.enable_static()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    if args.what in ("prepare", "predict"):
        for name in args.sizes:
            path = fresh(name, args.weights)
            if args.what == "predict":
                _write(args, {"net": name, **predicted(name, path, args.int8)})
        return
    steps: dict[str, Callable[..., Iterable[dict[str, Any]]]]
    steps = {"time": timed, "prune": pruned, "measure": measured, "room": room}
    step = steps.get(args.what)
    for name in args.nets:
        case = CASES[name]
        train, test = data_for(case.net, args.data_dir)
        train, test = scaled(train, case, case.images), scaled(test, case, JUDGED)
        model = trained(name, 0, train, args.weights, case.net)
        if step is None or (args.int8 and case.int8 is None):
            continue
        samples = train.inputs[np.random.default_rng(0).choice(len(train.inputs), SAMPLES, replace=False)]
        for line in step(Run(name, case, args.int8, model, samples, test, args.weights), read(args.results)):
            _write(args, {"net": name, **line})


def _write(args: argparse.Namespace, line: dict[str, Any]) -> None:
    line = {"step": args.what, "kind": "int8" if args.int8 else "float32", **line}
    print(json.dumps(line), file=sys.stderr, flush=True)
    with args.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Run:
    """A case with its model and data."""

    name: str
    case: Case
    int8: bool
    path: Path
    samples: np.ndarray
    test: Split
    weights: Path

    @property
    def pattern(self) -> str | None:
        return "1x4" if self.int8 else None

    def budget(self) -> Any:
        from paddle_unstructured import Budget

        speedup = self.case.int8 if self.int8 else self.case.speedup
        return Budget(speedup=speedup, int8=self.int8)

    def open(self) -> tuple[Any, list[dict[str, np.ndarray]]]:
        from paddle_unstructured.saved_model import open_model

        model = open_model(self.path)
        rows = range(0, len(self.samples), BATCH)
        return model, [{model.feeds[0]: self.samples[i : i + BATCH]} for i in rows]

    def options(self) -> Any:
        from paddle_unstructured.runtime import Int8

        return Int8(self.samples) if self.int8 else None

    def kept(self, allocation: str) -> Path:
        kind = "int8" if self.int8 else "float32"
        return self.weights / "budget" / f"{self.name.replace(' ', '_')}_{kind}_{allocation}" / "model"

    def lines(self, found: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
        kind = "int8" if self.int8 else "float32"
        return [line for line in found if (line["step"], line["net"], line["kind"]) == (step, self.name, kind)]


def timed(run: Run, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clock every layer at every sparsity, which is kept where `prune` finds it."""
    model, batches = run.open()
    print(run.budget().tuned(model, [(batch, "fit") for batch in batches], pattern=run.pattern, again=True))
    return []


def pruned(run: Run, found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Prune to the budget, and by the other allocations to the same predicted time; a line as soon as each is done."""
    from paddle_unstructured import allocation, reconstruct
    from paddle_unstructured.export import export

    if len(run.lines(found, "prune")) >= 1 + len(OTHERS):
        return
    fit = None
    for other in ("Budget", *OTHERS):
        model, batches = run.open()
        exact = _outputs(model, run.test)
        begun = time.perf_counter()
        if other == "Budget":
            done = reconstruct(model, batches, pattern=run.pattern, allocation=run.budget())
            fit, ratio = done.budget, done.budget.ratio
        else:
            rule = getattr(allocation, other)()
            ratio = ratio_within(fit, run.open()[0], batches, rule)
            if ratio is None:
                yield {"allocation": other, "why": "never so fast"}
                continue
            words = {"ratio": ratio, "pattern": run.pattern, "allocation": rule}
            done = reconstruct(model, batches, **{key: value for key, value in words.items() if value is not None})
        seconds = time.perf_counter() - begun
        got = done.model
        export(got.program, got.feeds, got.fetches, str(run.kept(other)), done.pruner)
        outputs = _outputs(got, run.test)
        error = float(np.linalg.norm(outputs - exact) / np.linalg.norm(exact))
        line = {"allocation": other, "ratio": ratio, "error": error, "accuracy": right(got, run.test)}
        if other == "Budget":
            line.update(predicted=fit.predicted, expected=fit.error, dense=fit.times.dense, origin=fit.origin)
        yield {**line, "seconds": round(seconds, 1)}


def ratio_within(fit: Any, model: Any, batches: list[dict[str, np.ndarray]], rule: Any) -> float | None:
    """The least sparsity at which the table of a budget predicts no more than what it predicts of its own choice."""
    from paddle_unstructured.budget.races import Race
    from paddle_unstructured.reconstruction.layers import SolvableLayer, solvable
    from paddle_unstructured.reconstruction.samples import of, split
    from paddle_unstructured.reconstruction.worth import worth_of

    known = fit.run
    ways = [way for way in map(partial(solvable, model.graph), model.graph.params()) if isinstance(way, SolvableLayer)]
    worth = worth_of(model, ways, of(split(model, batches), "fit", "choose"), seed=0)

    def taken(zeros: dict[str, int]) -> float:
        return sum(fit.times.of(name, count, known.levels) for name, count in zeros.items())

    least = Race(model.graph, known.layers, worth).least(rule, taken, fit.predicted - fit.times.fixed)
    return None if least is None else least[0]


def measured(run: Run, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clock the dense net and all pruned ones in turn, converted."""
    from paddle_unstructured.budget.times import clock, planned
    from paddle_unstructured.saved_model import open_model

    if run.lines(found, "measure"):
        return []
    model, _ = run.open()
    names = [name for name in ("Budget", *OTHERS) if run.kept(name).with_suffix(".json").is_file()]
    nets = [planned(each, run.options()) for each in (model, *(open_model(run.kept(name)) for name in names))]
    inputs = [np.ascontiguousarray(run.samples[:1])]
    seconds = [one.whole for one in clock(nets, inputs, threads=1)]
    return [{"allocation": name, "measured": s} for name, s in zip(["dense", *names], seconds)]


def room(run: Run, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How much less error a choice within the time can have, as trials tell it.

    Of what allocations choose; after 16 and 64 trials; and after moves of single layers to neighbouring levels from
    there, each answered by the others, 200 of them, each kept that is better.
    """
    from paddle_unstructured.budget import choice
    from paddle_unstructured.budget.races import races
    from paddle_unstructured.budget.search import search
    from paddle_unstructured.reconstruction.samples import split

    if run.lines(found, "room"):
        return []
    model, data = run.open()
    batches = split(model, data)
    known = run.budget().tuned(model, batches, pattern=run.pattern)
    args = (known.model, known.layers, known.levels, known.times)
    question, worth = choice.asked(*args, known.times.dense / run.budget().speedup, batches, seed=0)
    trials = choice.tried(known.model, known.layers, question, batches, seed=0)
    layers, seconds = question.layers, question.seconds
    competing = [one.layer for one in question.alone.values()]
    starts = races(known.model.graph, competing, worth, known.times, known.levels, seconds)
    line = {name: trials.error(zeros) ** 0.5 for name, zeros in starts.items()}
    for count in (16, 64):
        best = search(layers, seconds, trials.error, starts=starts, trials=count, seed=0)
        line[f"{count} trials"] = best.error**0.5
    moved, random = dict(best.zeros), np.random.default_rng(0)
    for _ in range(MOVES):
        if (other := neighbour(layers, moved, seconds, random)) and trials.error(other) < trials.error(moved):
            moved = other
    return [{**line, "moves": trials.error(moved) ** 0.5}]


def neighbour(layers: Any, zeros: dict[str, int], seconds: float, random: np.random.Generator) -> dict[str, int] | None:
    """A choice in which one layer has another level, up to three away, and others one away make room for it.

    Levels that are no faster than one with fewer zeros are left out.
    """
    from paddle_unstructured.budget.knapsack import within

    forced, options = int(random.integers(len(zeros))), []
    for i, (name, own, taken) in enumerate(zip(layers.names, layers.zeros, layers.times)):
        faster = [k for k in range(len(own)) if not k or taken[k] < taken[:k].min()]
        at = int(np.abs(np.asarray(own)[faster] - zeros[name]).argmin())
        far = [k for k in faster[max(at - 3, 0) : at + 4] if k != faster[at]]
        options.append([int(random.choice(far))] if i == forced and far else faster[max(at - 1, 0) : at + 2])
    errors = [error[own] * np.exp(0.5 * random.normal()) for error, own in zip(layers.errors, options)]
    found = within([taken[own] for taken, own in zip(layers.times, options)], errors, seconds)
    if found is None:
        return None
    return {n: z[own[k]] for n, z, own, k in zip(layers.names, layers.zeros, options, found)}


def fresh(name: str, folder: Path) -> Path:
    """The prefix of a net of random weights."""
    import paddle

    build, shape, _ = SIZES[name]
    prefix = folder / "budget" / name.replace(" ", "_") / "model"
    if not prefix.with_suffix(".pdiparams").is_file():
        paddle.seed(0)
        program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [None, *shape[1:]])
            net = build()
            net.eval()
            y = net(x)
        executor = paddle.static.Executor()
        with paddle.static.scope_guard(scope):
            executor.run(startup)
            prefix.parent.mkdir(parents=True, exist_ok=True)
            paddle.static.save_inference_model(str(prefix), [x], [y], executor, program=program)
    return prefix


def predicted(name: str, path: Path, int8: bool) -> dict[str, Any]:
    """Clock the layers, choose for a speedup by the energy of the weights that fall, and clock what that gives."""
    from paddle_unstructured import Budget
    from paddle_unstructured.budget.knapsack import within
    from paddle_unstructured.budget.levels import masked
    from paddle_unstructured.budget.times import clock, planned
    from paddle_unstructured.saved_model import open_model

    _, shape, speedup = SIZES[name]
    model, random = open_model(path), np.random.default_rng(0)
    feed = {model.feeds[0]: random.normal(size=[8, *shape[1:]]).astype("float32")}
    budget = Budget(speedup=speedup, int8=int8)
    known = budget.tuned(model, [(feed, "fit")], pattern="1x4" if int8 else None, again=True)
    errors = []
    for layer in known.layers:
        weight = model.graph.stored(layer.param.name)
        kept = [masked(layer, weight, zeros) for zeros in known.levels[layer.param.name]]
        errors.append(np.array([1.0 - float(np.square(w).sum() / np.square(weight).sum()) for w in kept]))
    times = [known.times.layers[layer.param.name] for layer in known.layers]
    wanted = max(known.times.dense / speedup, 1.02 * known.times.fastest)
    chosen = within(times, errors, wanted - known.times.fixed)
    assert chosen is not None
    own = model.copy()
    for layer, level in zip(known.layers, chosen):
        name, weight = layer.param.name, model.graph.stored(layer.param.name)
        own.graph.store(name, masked(layer, weight, known.levels[name][level]))
    found = known.times.fixed + sum(float(each[k]) for each, k in zip(times, chosen))
    nets = [known.dense, planned(own, known.int8)]
    pairs = [[one.whole for one in clock(nets, known.inputs, threads=1)] for _ in range(3)]
    pair = min(pairs, key=lambda pair: abs(pair[0] - known.times.dense))  # of the state the machine was in before
    return {"predicted": found, "dense": known.times.dense, "measured": pair, "all": pairs}


def _outputs(model: Any, test: Split) -> np.ndarray:
    parts = [test.inputs[i : i + 100] for i in range(0, len(test.inputs), 100)]
    return np.concatenate([model.run(**{model.feeds[0]: part})[0] for part in parts]).astype(np.float64)


def scaled(split: Split, case: Case, count: int | None) -> Split:
    """The first images of a split, enlarged."""
    inputs = split.inputs[:count]
    if case.scale > 1:
        inputs = inputs.repeat(case.scale, 2).repeat(case.scale, 3)
    return Split(np.ascontiguousarray(inputs), split.labels[:count])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def tables(found: list[dict[str, Any]]) -> str:
    """Predicted beside measured time, and errors at equal time."""
    lines = [
        "| net | | asked for | dense ms, in the table and now | predicted | measured | apart | as a part of dense |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = ["| net | | time | sparsity | budget | " + " | ".join(OTHERS) + " |", "|---|---|---|---|---|---|---|---|"]
    for line in (line for line in found if line["step"] == "predict"):
        dense, took = line["measured"]
        asked = f"{line['dense'] / line['predicted']:.2f} x"
        lines.append(_clocked(line["net"], line["kind"], asked, line["dense"], dense, line["predicted"], took))
    for net in CASES:
        for kind in ("float32", "int8"):
            known = [line for line in found if (line["net"], line["kind"]) == (net, kind)]
            cells = {line["allocation"]: line for line in known if line["step"] == "prune"}
            clocks = {line["allocation"]: line["measured"] for line in known if line["step"] == "measure"}
            if "Budget" not in cells or "Budget" not in clocks:
                continue
            own, took = cells["Budget"], clocks["Budget"]
            speedup = CASES[net].int8 if kind == "int8" else CASES[net].speedup
            args = (own["dense"], clocks["dense"], own["predicted"], took)
            lines.append(_clocked(net, kind, f"{speedup:g} x", *args))
            rows.append(
                f"| {net} | {kind} | {1e3 * took:.3f} ms | {own['ratio']:.1%} | {_judged(own)} | "
                + " | ".join(_beside(own, cells.get(other, {}), took, clocks.get(other)) for other in OTHERS)
                + " |"
            )
    return "\n".join([*lines, "", *rows])


def _clocked(net: str, kind: str, asked: str, dense: float, now: float, predicted: float, took: float) -> str:
    return (
        f"| {net} | {kind} | {asked} | {1e3 * dense:.3f}, {1e3 * now:.3f} | {1e3 * predicted:.3f} | {1e3 * took:.3f} | "
        f"{predicted / took - 1:+.1%} | {predicted / dense * now / took - 1:+.1%} |"
    )


def _beside(own: dict[str, Any], other: dict[str, Any], took: float, its: float | None) -> str:
    if "error" not in other or its is None:
        return other.get("why", "")
    less = 1.0 - own["error"] / other["error"]
    return f"{_judged(other)} at {other['ratio']:.1%}, {its / took:.2f} of the time: {less:.0%} less"


def _judged(line: dict[str, Any]) -> str:
    return f"{line['error']:.4f}" + (f" ({100 * line['accuracy']:.1f})" if "accuracy" in line else "")


if __name__ == "__main__":
    main()
