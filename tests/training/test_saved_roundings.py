# SPDX-License-Identifier: Apache-2.0
"""A rounded Program, or Layer, that Paddle saved and read again: its marks are there, or an error says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn
from paddle.static import InputSpec

from paddle_unstructured import (
    BinaryQuantizer,
    DoReFaQuantizer,
    FunctionQuantizer,
    UnstructuredPruner,
    quantize_aware,
    test_program,
)
from paddle_unstructured.cli import main as cli
from paddle_unstructured.export import export, open_model
from paddle_unstructured.graph import open_graph
from paddle_unstructured.graph.rounded import begins, ends, is_moving_range, loses_zeros, range_variables

LOSING = {"quantizer": BinaryQuantizer()}, {"quantizer": DoReFaQuantizer(), "quant_bits": {"weight": 2, "input": 3}}
KEEPING = {}, {"quantizer": FunctionQuantizer(weight=paddle.round, input=paddle.round)}


class Saved:
    """A small net that is rounded, and trained for a batch."""

    def __init__(self, entry: dict[str, Any]) -> None:
        types = ["weight", "input"]
        self.net = Net(lambda x: nn.Linear(6, 2)(nn.functional.relu(nn.Linear(4, 6)(x))), [3, 4])
        self.program = self.net.program
        self.quantized = quantize_aware(self.program, [{"quant_types": types, **entry}] if entry else None)
        self.executor = paddle.static.Executor()
        self.run(self.program)

    def run(self, program: Any, fetch: Any = ()) -> Any:
        feed = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype("float32")}
        with paddle.static.scope_guard(self.net.scope):
            return self.executor.run(program, feed=feed, fetch_list=list(fetch))


def by_static_save(saved: Saved, folder: Path) -> Any:
    with paddle.static.scope_guard(saved.net.scope):
        paddle.static.save(saved.program, str(folder / "m"))
    return open_model(folder / "m").program


def by_save(saved: Saved, folder: Path) -> Any:
    paddle.save(saved.program, str(folder / "m.json"))
    return paddle.load(str(folder / "m.json"))


def by_clone(saved: Saved, folder: Path) -> Any:
    return saved.program.clone()


WAYS = [by_static_save, by_save, by_clone]


def output_of(program: Any) -> Any:
    """What the last layer gives."""
    return next(
        op for op in program.global_block().ops if op.name() == "pd_op.add" and op.result(0).shape == [3, 2]
    ).result(0)


def marks(program: Any) -> list[tuple[Any, ...]]:
    ops = program.global_block().ops
    return [(begins(op), ends(op), loses_zeros(op), is_moving_range(op)) for op in ops if op.name() != "pd_op.relu"]


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("entry", [*LOSING, *KEEPING], ids=["binary", "dorefa", "int8", "function"])
@pytest.mark.parametrize("way", WAYS)
def test_marks_are_read_as_they_were_saved(way: Callable[..., Any], entry, tmp_path):
    saved = Saved(entry)
    read = way(saved, tmp_path)
    assert sorted(marks(read)) == sorted(marks(saved.program)) and any(begin for begin, *_ in marks(read))
    assert range_variables(read) == range_variables(saved.program)
    params = {p.name: (p.role, p.broken) for p in open_graph(saved.program, saved.net.scope).params()}
    assert {p.name: (p.role, p.broken) for p in open_graph(read, saved.net.scope).params()} == params


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("way", WAYS)
def test_weights_without_a_level_at_zero_are_not_pruned_after_they_were_read_either(way, tmp_path):
    saved = Saved(LOSING[0])
    with pytest.raises(ValueError, match=r"nothing to prune: (?s:.)*BinaryQuantizer has no level at zero"):
        UnstructuredPruner(way(saved, tmp_path), scope=saved.net.scope, ratio=0.5)


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("entry", [*LOSING, *KEEPING], ids=["binary", "dorefa", "int8", "function"])
@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_was_read_is_not_rounded_twice(way, entry, tmp_path):
    read = way(Saved(entry), tmp_path)
    with pytest.raises(
        ValueError, match="is rounded already, here or before it was saved; build it anew, and load its"
    ):
        quantize_aware(read)


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("way", WAYS)
def test_the_test_program_of_what_was_read_does_not_move_its_ranges(way, tmp_path):
    saved = Saved({})
    before = saved.quantized.ranges()
    read = way(saved, tmp_path)
    saved.run(*test_program(read, [output_of(read)]))
    assert saved.quantized.ranges() == before
    saved.run(saved.program)
    assert saved.quantized.ranges() != before


@pytest.mark.usefixtures("static")
def test_what_was_read_is_not_exported_with_its_ranges_and_says_how_it_is(tmp_path):
    saved = Saved({})
    read = by_save(saved, tmp_path)
    with pytest.raises(ValueError, match=r"_input_range, .*; .*\(of one that was read from a file: build it anew"):
        export(read, ["x"], [output_of(read)], tmp_path / "out", scope=saved.net.scope)


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("command", [["accelerate"], ["export", "--to", "onnx"], ["prune", "--ratio", "0.5"]])
def test_an_inference_model_that_paddle_wrote_with_ranges_is_refused_with_the_way_out(command, tmp_path, capsys):
    saved = Saved({})
    with paddle.static.scope_guard(saved.net.scope):
        x, y = saved.net.input, saved.net.output
        paddle.static.save_inference_model(str(tmp_path / "m"), [x], [y], saved.executor, program=saved.program)
    assert cli([*command, str(tmp_path / "m"), "-o", str(tmp_path / "out.onnx")]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "_input_range" in said and "quantize_aware" in said and "build it anew" in said
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("entry", LOSING)
def test_a_layer_that_paddle_saved_says_that_its_weights_lose_their_zeros(entry, tmp_path):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    quantize_aware(model, [{"quant_types": ["weight", "input"], **entry}])
    model(paddle.ones([3, 4]))
    model.eval()
    paddle.jit.save(model, str(tmp_path / "m"), input_spec=[InputSpec([None, 4])])
    paddle.enable_static()
    try:
        params = open_model(tmp_path / "m").graph.params()
    finally:
        paddle.disable_static()
    weights = [param for param in params if len(param.shape) == 2]
    assert len(weights) == 2 and all("has no level at zero" in str(param.broken) for param in weights)
