# SPDX-License-Identifier: Apache-2.0
"""The Python of the documentation runs as it stands, in a small world with the names that a training script has."""

import builtins
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from docs.pages import ROOT, Block, blocks, page

import paddle_unstructured
from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import export
from paddle_unstructured.runtime import convert

pytestmark = pytest.mark.usefixtures("static")
ELSEWHERE = {"docs/quantization.md", "docs/extending.md", "docs/dygraph.md"}  # pages that other tests run
PAGES = [f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [
    (name, block)
    for name in PAGES
    for block in blocks(name, "python")
    if name not in ELSEWHERE
    and not block.run.startswith("never")
    and not block.code.startswith("from paddle_unstructured import *")  # test_pages.py
]


def net(x):
    """A convolution with its norm, and three linear layers; made anew by each call."""
    x = paddle.nn.functional.relu(paddle.nn.BatchNorm2D(8)(paddle.nn.Conv2D(1, 8, 1)(x))).mean([2, 3])
    for shape in ((8, 16), (16, 16), (16, 4)):
        x = paddle.nn.Linear(*shape)(x)
    return x


def build() -> dict:
    """A Program of a classifier, its parts by the names that the pages use."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 1, 8, 8])
        label = paddle.static.data("label", [None, 1], "int64")
        logits = net(image)
        loss = paddle.nn.functional.cross_entropy(logits, label)
    main, startup = (
        {"main": main, "main_program": main, "program": main},
        {"startup": startup, "startup_program": startup},
    )
    return {**main, **startup, "image": image, "label": label, "logits": logits, "loss": loss}


def world(code: str) -> dict:
    """What stands before a block in a user's script; the optimizer and the pruner unless the block makes them."""
    paddle.seed(0)
    names, dense, dense_scope = build(), build(), paddle.static.Scope()
    exe, rng = paddle.static.Executor(), np.random.default_rng(0)
    batch = {"image": rng.normal(size=[8, 1, 8, 8]).astype("float32"), "label": rng.integers(0, 4, [8, 1])}
    exe.run(dense["startup"], scope=dense_scope)
    optimizer = paddle.optimizer.Momentum(0.1)
    if "minimize(" not in code and "sensitivity(" not in code:
        with paddle.static.program_guard(names["main"], names["startup"]):
            optimizer.minimize(names["loss"])
    exe.run(names["startup"])
    pruner = None
    if "Pruner(" not in code and ".pruner(" not in code:
        pruner = UnstructuredPruner(names["main"], ratio=0.5)
        pruner.step()

    def train(steps: int) -> None:
        for _ in range(steps):
            exe.run(names["main"], feed=batch, fetch_list=[names["loss"]])

    def build_model():
        return paddle.nn.functional.cross_entropy(net(names["image"]), names["label"])

    return {
        **{name: getattr(paddle_unstructured, name) for name in paddle_unstructured.__all__},
        **names, "paddle": paddle, "np": np, "export": export, "net": net, "optimizer": optimizer, "exe": exe,
        "pruner": pruner, "batch": batch,
        "loader": [batch] * 3, "batches": [{"image": batch["image"]}] * 2, "train": train, "steps": 2,
        "epochs": 20, "peak": 0.1, "scope": paddle.static.global_scope(), "place": paddle.CPUPlace(),
        "build_model": build_model, "resuming": False, "correct": 5, "images": 8, "evaluate": lambda: 0.5,
        "test_program": names["main"], "load_dense_weights": lambda: None, "load_pruned_weights": lambda: None,
        "dense_logits": dense["logits"], "dense_scope": dense_scope, "dense_program": dense["main"],
    }  # fmt: skip


def leave_models() -> None:
    """The files that the quick start and the commands of the pages leave, here of one small net."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        names, exe = build(), paddle.static.Executor()
        exe.run(names["startup"])
        export(names["main"], [names["image"]], [names["logits"]], "runs/quickstart/gmp90/inference", exe=exe)
    convert("runs/quickstart/gmp90/inference", "runs/fast/model")
    np.save("runs/images.npy", np.zeros([4, 1, 8, 8], np.float32))


@pytest.mark.parametrize(("name", "block"), SHOWN, ids=[f"{name}:{block.line}" for name, block in SHOWN])
def test_the_python_of_a_page_runs(name: str, block: Block, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    writer = SimpleNamespace(add_scalar=lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "visualdl", SimpleNamespace(LogWriter=lambda path: writer))
    if "runs/" in block.code:
        leave_models()
    names = world(block.code)
    with paddle.utils.unique_name.guard("page"), paddle.static.program_guard(names["main"], names["startup"]):
        exec(compile(block.code, str(Path(name)), "exec"), names)


def changes_of_paddle() -> list[tuple[str, str, str]]:
    """Rows of the table of what Paddle 3 changed: a call, the error, what to write instead."""
    table = page("docs/migration.md").split("| written for Paddle 2 |")[1].split("\n\n")[0]
    return re.findall(r"^\| `(.+)` \| `(\w+)` \| (.+) \|$", table, re.M)


@pytest.mark.filterwarnings("ignore")  # that it is deprecated
@pytest.mark.parametrize(("before", "error", "now"), changes_of_paddle(), ids=[row[0] for row in changes_of_paddle()])
def test_what_paddle_changed_is_true_and_so_is_the_cure(before: str, error: str, now: str):
    names = world("")
    with paddle.utils.unique_name.guard("page"), paddle.static.program_guard(names["main"], names["startup"]):
        with pytest.raises(getattr(builtins, error)) as raised:
            eval(before, names)
        assert type(raised.value).__name__ == error
        if now.startswith("`"):
            eval(now.strip("`"), names)


def test_the_table_of_changes_is_found():
    assert len(changes_of_paddle()) == 12
