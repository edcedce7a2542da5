# SPDX-License-Identifier: Apache-2.0
"""`benchmark`: two models side by side under Paddle's Predictor, in turn, with outputs compared."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

from ..arguments import StrPath, instance, path, whole
from ..export.inputs import check_inputs, random_inputs
from ..inference import reason
from ..saved_model import Model, open_model
from .agreement import Agreement, compare
from .engine import MOST_THREADS
from .precision.samples import Data, read_named
from .predictor import create_predictor
from .session import Session

MOST_ROUNDS, MOST_ROWS = 1_000_000, 65_536  # what ends in an hour, and fits into memory
_RANDOM = 16  # samples to compare outputs on, where there are no data


@dataclass(frozen=True)
class BenchmarkResult:
    """Two models on the same inputs; prints as a short table.

    Attributes:
        names: paths of the two models.
        milliseconds: Median time of a run, of each.
        speedup: Median over the rounds of the first model's time / the second's; steadier than the times themselves on
            a busy machine.
        outputs: measure of how far the second model's outputs are from the first one's.
        random: whether the inputs were random: few of them, and of no class.
        threads: threads of one run.
        shape: shape of the input that was timed; of several, the first.
        rounds: number of times that both ran.
        shapes: input name -> its shape, where there are several.
    """

    names: tuple[str, str]
    milliseconds: tuple[float, float]
    speedup: float
    outputs: Agreement
    random: bool
    threads: int
    shape: tuple[int, ...]
    rounds: int
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max(map(len, self.names))
        lines = [f"{name.ljust(width)}  {took:9.3f} ms" for name, took in zip(self.names, self.milliseconds)]
        note = "\nrandom inputs: agreement on them says little; give `data` (--data DATA)" if self.random else ""
        return "\n".join(
            [
                *lines,
                f"{'speedup'.ljust(width)}  {self.speedup:9.2f} x",
                f"{self._said_of_inputs()}, {self.threads} thread(s), {self.rounds} rounds in turn",
                f"{self.outputs}{note}",
            ]
        )

    def _said_of_inputs(self) -> str:
        if len(self.shapes) < 2:
            return f"input {list(self.shape)}"
        return "inputs " + ", ".join(f"{name} {list(shape)}" for name, shape in self.shapes.items())

    @property
    def difference(self) -> float:
        """The largest difference of an output, as a fraction of the first model's largest."""
        return self.outputs.largest

    @property
    def agreement(self) -> float:
        """Fraction of the inputs for which both rank the same output first."""
        return self.outputs.same_first


def benchmark(
    a: StrPath,
    b: StrPath,
    *,
    threads: int = 1,
    batch: int = 1,
    rounds: int = 30,
    seed: int = 0,
    inputs: dict[str, np.ndarray] | None = None,
    data: Data | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> BenchmarkResult:
    """Time two inference models of the same net in turn, and compare what they return.

    Args:
        a: The model that the other is compared with: the dense float32 one, say.
        b: The other.
        threads: threads of both.
        batch: Rows of the input that is timed.
        rounds: number of times that each runs, in turn.
        seed: seed of the random input.
        inputs: Name -> array, in place of a random input; needed (or `data`) where height and width are open.
        data: Samples to compare the outputs on, as `Int8` takes them, or a dict or .npz file with an array for every
            input; `batch` of them are timed.
        shapes: input name -> shape of random inputs, where the model leaves sizes open.

    Raises:
        FileNotFoundError: A model is not there.
        ValueError: `rounds` is not positive, or inputs must be given; or the two take other inputs, or return outputs
            of other shapes; or the data do not fit, or hold NaN.

    Example:
        >>> print(benchmark("runs/gmp90/inference", "runs/gmp90/fast", threads=2))  # doctest: +SKIP
    """
    rounds, batch = whole("rounds", rounds, least=1, most=MOST_ROUNDS), whole("batch", batch, least=1, most=MOST_ROWS)
    threads, seed = whole("threads", threads, least=1, most=MOST_THREADS), whole("seed", seed)
    a, b = path("a", a), path("b", b)
    samples = _samples(open_model(a), batch, seed, inputs, data, shapes)
    predictors = [create_predictor(each, threads=threads) for each in (a, b)]
    read = [sorted(predictor.get_input_names()) for predictor in predictors]
    if read[0] != read[1]:
        raise ValueError(f"`a` and `b` must be models of the same net, but read {read[0]} and {read[1]}.")
    outputs = []
    for each, predictor in zip((a, b), predictors):
        with _refusal_said(each, samples[0]):
            outputs.append(_outputs(predictor, samples))  # the first run of each prepares it, too
    runs = [_runner(predictor, samples[0]) for predictor in predictors]
    for run in runs:  # the last of the samples were fewer, maybe
        run()
    times = [[_timed(run) for run in runs] for _ in range(rounds)]
    return BenchmarkResult(
        names=(a, b),
        milliseconds=tuple(1e3 * statistics.median(column) for column in zip(*times)),
        speedup=statistics.median(first / second for first, second in times),
        outputs=compare(*outputs),
        random=inputs is None and data is None,
        threads=threads,
        shape=tuple(next(iter(samples[0].values())).shape),
        rounds=rounds,
        shapes={name: tuple(array.shape) for name, array in samples[0].items()},
    )


def _samples(
    model: Model,
    batch: int,
    seed: int,
    inputs: dict[str, np.ndarray] | None,
    data: Data | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> list[dict[str, np.ndarray]]:
    """Inputs that go through both models, the first of which is timed."""
    if inputs is not None:
        check_inputs(model, inputs)
        return [inputs]
    if shapes is not None:
        instance("shapes", shapes, Mapping, rule="a dict of input name -> shape")
    if data is None:
        first = random_inputs(model, batch, seed, shapes)
        rows = max(1, len(next(iter(first.values()))))
        return [first, *(random_inputs(model, batch, seed + i, shapes) for i in range(1, -(-_RANDOM // rows)))]
    whole = read_named(data, model)
    for name, array in whole.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"`data` must be numbers, but {name} has NaN, which nothing equals; look at the data.")
    fixed = [value.shape[0] for value in model.inputs.values() if value.shape[0] > 0]
    count, rows = len(next(iter(whole.values()))), fixed[0] if fixed else batch
    if count < rows:
        raise ValueError(f"`data` must have at least {rows} samples (a batch), got {count}.")
    parts = [{name: array[at : at + rows] for name, array in whole.items()} for at in range(0, count, rows)]
    return parts[: count // rows] if fixed else parts


@contextmanager
def _refusal_said(model: str, inputs: dict[str, np.ndarray]) -> Iterator[None]:
    """A model that does not run on inputs of the other is not of the same net; Paddle has no words for an operator's.

    Raises:
        ValueError: Instead of what Paddle's C++ came to Python with.
    """
    try:
        yield
    except Exception as error:
        why = reason(error)
        if why == "std::exception":
            with suppress(ImportError, FileNotFoundError):
                try:
                    Session(model).run(inputs)
                except ValueError as said:
                    why = str(said)
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ValueError(f"`a` and `b` must be models of the same net, but {model} fails on {shapes}: {why}") from error


def _outputs(predictor: Any, samples: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    found = [_runner(predictor, inputs)() for inputs in samples]
    return [np.concatenate([np.atleast_1d(part) for part in parts]) for parts in zip(*found)]


def _runner(predictor: Any, inputs: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    for name, array in inputs.items():
        predictor.get_input_handle(name).copy_from_cpu(np.asarray(array, order="C"))
    names = predictor.get_output_names()

    def run() -> list[np.ndarray]:
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in names]

    return run


def _timed(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
