# SPDX-License-Identifier: Apache-2.0
"""The file of learned ranges beside a model: it belongs to the weights that were learned with it, and to no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from command_lines import process
from nets import new_programs
from paddle import nn

from paddle_unstructured import quantize_aware, test_program
from paddle_unstructured.export import export_model
from paddle_unstructured.runtime import Int8, Session, convert

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def trained(path: Path, steps: int) -> Path:
    """A net after some steps, exported with its ranges; its weights have the same names every time."""
    with paddle.utils.unique_name.guard():
        paddle.seed(1)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    aware = quantize_aware(model)
    optimizer = paddle.optimizer.SGD(0.05, parameters=model.parameters())
    for _ in range(steps):
        (model(paddle.to_tensor(X)) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    aware.export([paddle.static.InputSpec([None, 6], name="x")], path)
    return path


@pytest.fixture
def one_and_other(tmp_path, static):
    """Prefixes of two trainings of one net."""
    paddle.disable_static()
    found = trained(tmp_path / "one", 2), trained(tmp_path / "other", 5)
    paddle.enable_static()
    return found


def ranges_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".ranges.json")


def without_proof(file: Path) -> dict[str, Any]:
    """The ranges of a file as files were before they said whose they are."""
    content = json.loads(file.read_text())
    del content["pdiparams_sha256"]
    file.write_text(json.dumps(content))
    return content


def test_ranges_of_the_model_are_taken_without_a_word(one_and_other, tmp_path, caplog):
    one, _ = one_and_other
    assert convert(one, tmp_path / "fast", int8=Int8(ranges=ranges_of(one))).converted
    assert "ranges" not in caplog.text


@pytest.mark.parametrize("read", [str, lambda file: json.loads(file.read_text())], ids=["file", "what it holds"])
def test_ranges_of_another_training_are_refused(one_and_other, tmp_path, read):
    one, other = one_and_other
    with pytest.raises(ValueError, match=r"weights in .*one.pdiparams, and says that they are of others; give the"):
        convert(one, tmp_path / "fast", int8=Int8(ranges=read(ranges_of(other))))
    assert not list(tmp_path.glob("fast*"))


def test_ranges_that_do_not_say_whose_they_are_are_warned_of(one_and_other, tmp_path, caplog):
    one, other = one_and_other
    content = without_proof(ranges_of(other))
    assert convert(one, tmp_path / "fast", int8=Int8(ranges=ranges_of(other))).converted
    assert "does not say with which weights its ranges were learned" in caplog.text
    caplog.clear()
    assert convert(one, tmp_path / "fast", int8=Int8(ranges=content)).converted  # a user's own
    assert "ranges" not in caplog.text


def test_a_model_in_parts_takes_its_own_ranges_alone(tmp_path, static):
    class Sorted(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            return self.last(paddle.cumprod(self.first(x), 1))

    paddle.disable_static()
    model = Sorted()
    aware = quantize_aware(model)
    for name in ("one", "other"):
        model(paddle.to_tensor(X))
        aware.export([paddle.static.InputSpec([None, 6], name="x")], tmp_path / name)
        model.first.weight.set_value(model.first.weight * 2)
    paddle.enable_static()
    table = convert(tmp_path / "one", tmp_path / "fast", int8=Int8(X, ranges=ranges_of(tmp_path / "one")))
    assert table.parts and not table.converted
    with pytest.raises(ValueError, match="says that they are of others"):
        convert(tmp_path / "one", tmp_path / "fast", int8=Int8(X, ranges=ranges_of(tmp_path / "other")))


def test_a_model_that_is_written_anew_asks_for_a_decision(one_and_other, tmp_path):
    """Other weights in the place of the model beside the file."""
    one, other = one_and_other
    export_model(other, one)
    with pytest.raises(ValueError, match="one.ranges.json must hold ranges that were learned with the weights in"):
        convert(one, tmp_path / "fast", int8=Int8(ranges=ranges_of(one)))


@pytest.mark.slow
def test_pruned_on_the_way_the_ranges_are_those_of_the_model_as_it_was(one_and_other, tmp_path):
    one, other = one_and_other
    np.save(tmp_path / "x.npy", X)
    words = ["accelerate", str(one), "--prune", "0.5", "--int8", "-o", str(tmp_path / "fast"), "--calibrate", "x.npy"]
    own = process(*words, str(ranges_of(one)), cwd=tmp_path)
    assert own.returncode == 0 and "ranges" not in own.stderr
    wrong = process(*words, str(ranges_of(other)), cwd=tmp_path)
    assert wrong.returncode == 2 and "other.ranges.json must hold ranges that were learned with" in wrong.stderr


def small(config: Any = None, skip: Any = ()) -> tuple[nn.Layer, Any]:
    with paddle.utils.unique_name.guard():
        paddle.seed(1)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    return model, quantize_aware(model, config, skip=skip)


def as_layer(path: Path, config: Any, skip: Any, x: np.ndarray) -> np.ndarray:
    """Exports a net after three batches; what it computes, rounding."""
    model, aware = small(config, [name.replace("linear_1.w_0", "2.weight") for name in skip])
    for _ in range(3):
        model(paddle.to_tensor(X))
    model.eval()
    aware.export([paddle.static.InputSpec([None, 6], name="x")], path)
    return model(paddle.to_tensor(x)).numpy()


def as_program(path: Path, config: Any, skip: Any, x: np.ndarray) -> np.ndarray:
    with new_programs() as (main, startup):
        data = paddle.static.data("x", [-1, 6])
        paddle.seed(1)
        answer = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))(data)
        test, (tested,) = test_program(main, [answer])
        aware = quantize_aware(main, config, skip=skip)
        quantize_aware(test, config, skip=skip, training=False)
        exe = paddle.static.Executor()
        exe.run(startup)
        for _ in range(3):
            exe.run(main, feed={"x": X}, fetch_list=[answer])
        aware.export([data], [answer], path)
        return exe.run(test, feed={"x": x}, fetch_list=[tested])[0]


LEFT = {
    "skip": (None, ["linear_1.w_0"]),
    "exclude": ([{"quant_bits": 8}, {"op_names": ["@"], "exclude": True}], []),
    "no entry": ([{"op_names": ["@"], "exclude": True}, {"op_names": ["!"]}], []),
    "few bits": ([{}, {"op_names": ["@"], "quant_bits": {"weight": 3, "input": 32, "output": 32}}], []),
}


@pytest.mark.parametrize("config, skip", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("door", [as_layer, as_program])
def test_a_layer_that_was_not_to_be_in_int8_stays_so_when_it_is_converted(door, config, skip, tmp_path):
    names = {"@": "2.weight", "!": "[04].weight"} if door is as_layer else {"@": "*_1.w_0", "!": "*_[02].w_0"}
    config = config and [
        {key: [names[name] for name in value] if key == "op_names" else value for key, value in entry.items()}
        for entry in config
    ]
    x = 3.0 * X  # beyond the ranges that the layers around it learned
    expected = door(tmp_path / "m", config, skip, x)
    assert json.loads((tmp_path / "m.ranges.json").read_text())["linear_1.w_0"] == {}
    paddle.enable_static()
    table = convert(tmp_path / "m", tmp_path / "fast", int8=Int8(ranges=ranges_of(tmp_path / "m")))
    paddle.disable_static()
    assert [("int8" in choice.kernel, "as training left it" in choice.why) for choice in table.choices] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    np.testing.assert_allclose(Session(tmp_path / "fast").run(x)[0], expected, atol=0.02)


@pytest.mark.parametrize("door", [as_layer, as_program])
def test_a_model_of_few_bits_alone_is_converted_as_it_computes(door, tmp_path):
    expected = door(tmp_path / "m", [{"quant_bits": 4}], [], 3.0 * X)
    paddle.enable_static()
    table = convert(tmp_path / "m", tmp_path / "fast", int8=Int8(ranges=ranges_of(tmp_path / "m")))
    paddle.disable_static()
    assert table.converted and not [choice for choice in table.choices if "int8" in choice.kernel]
    np.testing.assert_allclose(Session(tmp_path / "fast").run(3.0 * X)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_model_of_one_head_has_the_ranges_of_its_layers_alone(tmp_path, static):
    with new_programs() as (main, startup):
        data = paddle.static.data("x", [-1, 6])
        trunk = nn.functional.relu(nn.Linear(6, 8)(data))
        one, _ = heads = [nn.Linear(8, 3)(trunk), nn.Linear(8, 5)(trunk)]
        aware = quantize_aware(main)
        exe = paddle.static.Executor()
        exe.run(startup)
        exe.run(main, feed={"x": X}, fetch_list=heads)
        aware.export([data], [one], tmp_path / "m")
    assert {*json.loads(ranges_of(tmp_path / "m").read_text())} == {"pdiparams_sha256", "linear_0.w_0", "linear_1.w_0"}
    paddle.enable_static()
    assert convert(tmp_path / "m", tmp_path / "fast", int8=Int8(ranges=ranges_of(tmp_path / "m"))).converted


def test_a_head_that_only_training_has_leaves_no_ranges(tmp_path):
    class Helped(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head, self.helper = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            h = nn.functional.relu(self.trunk(x))
            return self.head(h) + self.helper(h) if self.training else self.head(h)

    model = Helped()
    aware = quantize_aware(model)
    model(paddle.to_tensor(X))
    aware.export([paddle.static.InputSpec([None, 6], name="x")], tmp_path / "m")
    kept = {*json.loads(ranges_of(tmp_path / "m").read_text())}
    assert kept == {"pdiparams_sha256", model.trunk.weight.name, model.head.weight.name}


def test_the_first_layer_may_stay_in_float32_with_ranges_alone(one_and_other, tmp_path):
    one, _ = one_and_other
    ranges = {"linear_1.w_0": json.loads(ranges_of(one).read_text())["linear_1.w_0"]}
    table = convert(one, tmp_path / "fast", int8=Int8(ranges=ranges, skip=["linear_0.w_0"]))
    assert [choice.kernel[:4] for choice in table.choices] == ["fp32", "int8"]
