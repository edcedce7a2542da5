# SPDX-License-Identifier: Apache-2.0
"""Hostile arguments of what reads and writes models, rewrites training Programs, and trains on many ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import numpy as np
import paddle
import pytest
from hostile import faults
from nets import Net, two_linears

import paddle_unstructured as pu
from paddle_unstructured import distributed, export, runtime
from paddle_unstructured.formats.yaml import read_yaml, write_yaml

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture
def net(tmp_path, monkeypatch) -> Iterator[Net]:
    """A small net, saved as "dense" in a folder that is the current one; the default Program is an empty one."""
    monkeypatch.chdir(tmp_path)
    net = Net(two_linears, [3, 4], lambda: paddle.optimizer.SGD(0.1))
    export.export(net.program, [net.input], [net.output], "dense", exe=net.exe)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        yield net


def test_check_and_reports_of_a_program_refuse_hostile_values_by_name(net):
    good = {"program": net.program, "scope": None, "pattern": None, "sparsity": 0.0, "params": None, "each": False}
    assert faults(export.check, good) == {}
    assert faults(export.lite_report, {"program": net.program, "scope": None, "threshold": 0.6}) == {}
    assert faults(pu.test_program, {"program": net.program, "fetch": [net.output]}) == {}


def test_export_refuses_hostile_values_by_name(net):
    good = {"program": net.program, "feed": [net.input], "fetch": [net.output], "path": "a", "pruner": None}
    good |= {"exe": net.exe, "scope": None, "unfinished": False, "recalibrate": None, "shrink": False}
    assert faults(export.export, {**good, "align_channels": 1}) == {}


def test_export_of_a_saved_model_refuses_hostile_values_by_name(net):
    good = {"model": "dense", "out": "a", "to": "int8", "weights": None, "masks": None, "recalibrate": None}
    assert faults(export.export_model, {**good, "shrink": False, "align_channels": 1, "inputs": None}) == {}
    model = export.open_model("dense")
    assert faults(export.open_model, {"path": "dense", "place": None}) == {}
    assert faults(export.find_model, {"path": "dense"}) == {}
    assert faults(export.save_model, {"model": model, "out": "a"}) == {}
    assert faults(export.save_checkpoint, {"model": model, "out": "a"}) == {}
    assert faults(export.quantize_weights, {"model": model, "skip": (), "inputs": None}) == {}
    assert faults(export.recalibrate, {"model": model, "batches": []}, called="`") == {}


def test_small_files_refuse_hostile_values_by_name(net):
    assert faults(export.compress, {"model": "dense", "out": "a.bin", "values": "fp32", "level": 1}) == {}
    export.compress("dense", "b.bin")
    assert faults(export.decompress, {"model": "b.bin", "out": "a"}) == {}
    assert faults(lambda model: list(export.read_compressed(model)), {"model": "b.bin"}) == {}
    good = {"path": "a.yaml", "content": {"a": 0.5}, "heading": "h"}
    assert faults(write_yaml, good, skip=("content", "heading")) == {}
    assert faults(read_yaml, {"path": "a.yaml"}) == {}


def test_the_runtime_refuses_hostile_values_by_name(net):
    data = np.ones((4, 4), np.float32)
    assert faults(runtime.convert, {"model": "dense", "out": "a", "int8": None}) == {}
    runtime.convert("dense", "fast")
    assert faults(runtime.Session, {"path": "fast", "threads": 1}) == {}
    assert faults(runtime.create_predictor, {"path": "fast", "threads": 1}) == {}
    good = {"a": "dense", "b": "fast", "threads": 1, "batch": 1, "rounds": 1, "seed": 0}
    assert faults(runtime.benchmark, {**good, "inputs": None, "data": None, "shapes": None}) == {}
    session = runtime.Session("fast")
    assert faults(session.run, {"x": data}, called="the input") == {}


def test_data_for_int8_are_refused_where_they_are_used(net):
    def calibrated(**words: Any) -> None:
        runtime.convert("dense", "a", int8=runtime.Int8(**words))

    assert faults(calibrated, {"data": np.ones((4, 4), np.float32)}) == {}


def test_quantize_aware_and_distill_refuse_hostile_values_by_name(net):
    def forward() -> Net:
        return Net(two_linears, [3, 4])

    fresh = [forward()]

    def quantized(**words: Any) -> None:
        pu.quantize_aware(**{"program": fresh[0].program, **words})
        fresh[0] = forward()

    for argument, good in {"training": True, "skip": (), "decay": 0.9, "scope": None, "program": None}.items():
        assert faults(quantized, {argument: good}) == {}, argument
    teacher = forward()

    def distilled(**words: Any) -> None:
        student = fresh[0]
        with paddle.static.program_guard(student.program):
            before = len(student.program.global_block().ops)
            good = {"loss": student.output.mean(), "logits": student.output, "teacher_logits": teacher.output}
            pu.distill(**{**good, "inputs": {"x": student.input}, **words})
            assert len(student.program.global_block().ops) > before
        fresh[0] = forward()

    words = {"loss": 0, "logits": 0, "teacher_logits": 0, "weight": 0.5, "temperature": 2.0, "inputs": None}
    for argument in [*words, "scope", "teacher_scope", "prefix"]:
        assert faults(distilled, {argument: 0}) == {}, argument


def test_distributed_training_refuses_hostile_values_by_name(net):
    assert faults(distributed.average, {"values": []}) == {}
    assert faults(distributed.total, {"values": [1.0]}) == {}
    assert faults(distributed.progress, {"step": 1}) == {}
    program = {"program": net.program, "scope": None}
    for function in distributed.average_statistics, distributed.same_everywhere, distributed.synchronize:
        good = program if function != distributed.synchronize else {"graph": None}
        assert faults(function, good) == {}, function
    assert faults(distributed.broadcast_state, {**program, "pruner": None}) == {}
    assert faults(distributed.init, {"timeout": 600.0}) == {}
    optimizer = {"optimizer": paddle.optimizer.SGD(0.1), "loss": None, "no_grad_set": None}
    assert faults(distributed.minimize, optimizer, called="` must be") == {}


def test_partial_loads_are_asked_for_with_true(net):
    pruner = pu.UnstructuredPruner(net.program, ratio=0.5)
    pruner.save("state.pruner")
    paddle.static.save(net.program, "weights")
    assert faults(pruner.load, {"path": "state.pruner", "partial": False}) == {}
    assert faults(pruner.load_weights, {"path": str(Path("weights")), "partial": False}) == {}
