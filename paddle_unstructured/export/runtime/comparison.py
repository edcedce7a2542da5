"""`benchmark`: two models side by side under Paddle's Predictor, in turn, with outputs compared."""
from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from ..inputs import random_inputs
from ..model import open_model
from .predictor import create_predictor


@dataclass(frozen=True)
class BenchmarkResult:
    """Two models on the same input; prints as a short table.

    Attributes:
        names: Of the two models.
        milliseconds: Median time of a run, of each.
        speedup: Median over the rounds of the first model's time / the second's; steadier than the times themselves on
            a busy machine.
        difference: Largest difference between their outputs, as a fraction of the first's largest value.
        agreement: Fraction of the inputs for which both rank the same output first.
        threads: Of one run.
        shape: Of the input.
        rounds: How often both ran.
    """

    names: tuple[str, str]
    milliseconds: tuple[float, float]
    speedup: float
    difference: float
    agreement: float
    threads: int
    shape: tuple[int, ...]
    rounds: int

    def __str__(self) -> str:
        width = max(map(len, self.names))
        lines = [f"{name.ljust(width)}  {took:9.3f} ms" for name, took in zip(self.names, self.milliseconds)]
        return "\n".join([*lines, f"{'speedup'.ljust(width)}  {self.speedup:9.2f} x",
                          f"input {list(self.shape)}, {self.threads} thread(s), {self.rounds} rounds in turn; outputs "
                          f"differ by at most {self.difference:.1e} of the largest; same first answer: "
                          f"{self.agreement:.2%}"])


def benchmark(a: str, b: str, *, threads: int = 1, batch: int = 1, rounds: int = 30, seed: int = 0,
              inputs: dict[str, np.ndarray] | None = None) -> BenchmarkResult:
    """Time two inference models of the same net in turn, and compare what they return.

    Args:
        a: The model that the other is compared with (say, the one before `convert`).
        b: The other.
        threads: Of both.
        batch: Rows of the random input.
        rounds: How often each runs, in turn.
        seed: Of the random input.
        inputs: Name -> array, in place of a random input; needed where the model's height and width are open.

    Raises:
        FileNotFoundError: A model is not there.
        ValueError: `rounds` is not positive, or inputs must be given; or the outputs are of different shapes.

    Example:
        >>> print(benchmark("runs/gmp90/inference", "runs/gmp90/fast", threads=2))  # doctest: +SKIP
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}.")
    inputs = inputs or random_inputs(open_model(a), batch=batch, seed=seed)
    runs = [_runner(create_predictor(path, threads=threads), inputs) for path in (a, b)]
    outputs = [run() for run in runs]  # the first run of each prepares it
    times = [[_timed(run) for run in runs] for _ in range(rounds)]
    return BenchmarkResult(
        names=(a, b), milliseconds=tuple(1e3 * statistics.median(column) for column in zip(*times)),
        speedup=statistics.median(first / second for first, second in times), difference=_difference(*outputs),
        agreement=_agreement(*outputs), threads=threads, shape=tuple(next(iter(inputs.values())).shape), rounds=rounds)


def _runner(predictor: Any, inputs: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    for name, array in inputs.items():
        predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
    names = predictor.get_output_names()

    def run() -> list[np.ndarray]:
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in names]
    return run


def _timed(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    if [x.shape for x in a] != [x.shape for x in b]:
        raise ValueError(f"`a` and `b` must be models of the same net, but return {[list(x.shape) for x in a]} and "
                         f"{[list(x.shape) for x in b]}.")
    return max(float(np.abs(x - y).max()) / max(float(np.abs(x).max()), 1e-30) for x, y in zip(a, b))


def _agreement(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float((a[0].reshape(len(a[0]), -1).argmax(1) == b[0].reshape(len(b[0]), -1).argmax(1)).mean())
