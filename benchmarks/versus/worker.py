# SPDX-License-Identifier: Apache-2.0
"""Runs one cell in a process of its own, in either environment: JSON lines of progress, then of the result.

python -m versus.worker '{"cell": {...}, "data_dir": null, "folder": ".../dense"}'
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def weights_file(folder: str, cell) -> Path:
    """Where the weights of a dense cell are."""
    s = cell.setting
    spec = f"{s.data}-{s.model}-{s.width:g}-{'x'.join(map(str, s.strides))}-{s.images}-{s.dense_epochs}-{s.batch}"
    return Path(folder) / f"{spec}-{s.dense_peak:g}-{s.l2:g}-{cell.seed}.npz"


def main() -> None:
    job = json.loads(sys.argv[1])
    out = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):  # PaddleSlim prints
        result = measure(job, lambda **event: print(json.dumps(event), file=out, flush=True))
    print(json.dumps({"result": result}), flush=True)


def measure(job: dict, say) -> dict:
    import paddle

    from versus.cells import cell_of
    from versus.sides import side_of
    from versus.training import Net, load, run, steps_of

    paddle.enable_static()
    cell, started = cell_of(job["cell"]), time.perf_counter()
    train, test = load(cell.setting, job["data_dir"])
    start = dict(np.load(weights_file(job["folder"], cell.start))) if cell.start else None
    steps = steps_of(cell.setting, train, cell.epochs)
    side = side_of(cell)
    net = Net(cell.setting, steps, side, start, cell.seed, cell.peak)
    first = net.accuracy(test) if start else None
    say(steps=0, of=steps)
    every = max(steps // 50, 1)
    run(
        net,
        train,
        cell.seed + (0 if cell.method == "dense" else 500),
        cell.epochs,
        lambda done, loss: done % every == 0 and say(steps=done, of=steps, loss=loss),
    )
    accuracy = net.accuracy(test)
    zeros, weights = net.zeros()
    if cell.method == "dense":
        save(weights_file(job["folder"], cell), net.weights())
    return {
        "accuracy": accuracy,
        "start_accuracy": first,
        "zeros": zeros,
        "weights": weights,
        "steps": steps,
        **side.finish(net, accuracy, train, test),
        "seconds": round(time.perf_counter() - started, 1),
        "paddle": paddle.__version__,
        "pir": bool(paddle.framework.use_pir_api()),
    }


def save(path: Path, weights: dict) -> None:
    """A file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **weights)
    os.replace(partial, path)


if __name__ == "__main__":
    main()
