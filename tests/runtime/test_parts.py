# SPDX-License-Identifier: Apache-2.0
"""Nets with ops that the runtime does not know: these cost themselves alone."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from part_nets import SHAPE, at_the_end, image, middle, two_ways, unknown
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import Int8, convert, create_predictor
from paddle_unstructured.runtime.ops import OPS
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture(autouse=True)
def unknown_op(monkeypatch):
    """The runtime has no kernel for a running sum, here."""
    monkeypatch.delitem(OPS, "cumsum")


def run(prefix, x, **words):
    predictor = create_predictor(prefix, **words)
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


@pytest.mark.parametrize("layers, parts", [(middle, 2), (two_ways, 2), (at_the_end, 1)])
def test_an_unknown_op_costs_only_itself(tmp_path, layers, parts):
    dense = save_net(tmp_path, layers, SHAPE)
    table = convert(dense, tmp_path / "fast")
    assert not table.converted and len(table.parts) == parts and table.covered == 1.0, str(table)
    assert "cumsum: the runtime has no kernel for this op" in str(table)
    for batch in (1, 3):
        x = image(batch)
        for found, want in zip(run(str(tmp_path / "fast"), x, threads=batch), open_model(dense).run(x=x)):
            assert relative_error(found, want) < 1e-5


def test_what_is_repeated_behind_a_part_costs_only_its_op(tmp_path):
    def layers(x):
        tokens = nn.Linear(6, 8)(x)
        mean = nn.Linear(8, 8)(tokens.mean(1, keepdim=True)) * paddle.ones_like(tokens)
        return nn.Linear(8, 4)(unknown(mean) + tokens)

    dense = save_net(tmp_path, layers, [-1, -1, 6])
    table = convert(dense, tmp_path / "fast")
    assert table.covered == 1.0 and "before they are repeated as often as the input's size says" in str(table)
    x = np.random.default_rng(0).normal(size=(2, 7, 6)).astype("float32")
    assert relative_error(run(str(tmp_path / "fast"), x)[0], open_model(dense).run(x=x)[0]) < 1e-5


def test_parts_run_in_a_predictor_that_knows_nothing_of_them(tmp_path):
    dense = save_net(tmp_path, two_ways, SHAPE)
    convert(dense, tmp_path / "fast")
    want = open_model(dense).run(x=image())
    for onednn in (True, False):
        config = paddle.inference.Config(str(tmp_path / "fast.json"), str(tmp_path / "fast.pdiparams"))
        config.disable_glog_info()
        if not onednn:
            config.disable_mkldnn()
        predictor = paddle.inference.create_predictor(config)
        predictor.get_input_handle("x").copy_from_cpu(image())
        predictor.run()
        for name, expected in zip(predictor.get_output_names(), want):
            assert relative_error(predictor.get_output_handle(name).copy_to_cpu(), expected) < 1e-5


def test_parts_in_int8_are_calibrated_at_their_borders(tmp_path):
    dense = save_net(tmp_path, middle, SHAPE, sparsity=0.0)
    data = image(32, 1)
    table = convert(dense, tmp_path / "int8", int8=Int8(data))
    assert len(table.parts) == 2 and any("int8" in choice.kernel for choice in table.choices), str(table)
    want, found = open_model(dense).run(x=data)[0], run(str(tmp_path / "int8"), data)[0]
    assert relative_error(found, want) < 0.05
    for number in (1, 2):
        assert re.search(rf"part {number}: activations: \w+; against float32, on the calibration data", table.note)


def test_names_to_skip_may_be_of_any_part(tmp_path):
    dense = save_net(tmp_path, middle, SHAPE)
    names = [choice.layer for choice in convert(dense, tmp_path / "fast").choices]
    table = convert(dense, tmp_path / "int8", int8=Int8(image(4), skip=[names[-1]]))
    assert [choice.layer for choice in table.choices if "as `skip` says" in choice.why] == [names[-1]]
    with pytest.raises(ValueError, match="`skip` must name weights of the model, got nothing"):
        convert(dense, tmp_path / "int8", int8=Int8(image(4), skip=["nothing"]))


def test_a_net_without_anything_for_the_runtime_stays_with_paddle(tmp_path, monkeypatch):
    monkeypatch.delitem(OPS, "conv2d")
    dense = save_net(tmp_path, lambda x: paddle.tanh(nn.Conv2D(3, 4, 1)(x)), SHAPE)
    table = convert(dense, tmp_path / "fast")
    assert not table.converted and not table.parts and table.covered == 0 and "stays with Paddle" in str(table)


def test_only_the_op_that_is_converted_wrongly_stays_with_paddle(tmp_path, monkeypatch):
    monkeypatch.setitem(OPS, "tanh", OPS["sigmoid"])

    def layers(x):
        return nn.Conv2D(4, 4, 3)(paddle.tanh(nn.Conv2D(3, 4, 1)(x)))

    dense = save_net(tmp_path, layers, SHAPE)
    table = convert(dense, tmp_path / "fast")
    assert not table.converted and len(table.parts) == 2 and table.covered == 1.0, str(table)
    assert all("tanh: its layer does not compute what Paddle computes" in part.why for part in table.parts)
    assert relative_error(run(str(tmp_path / "fast"), image())[0], open_model(dense).run(x=image())[0]) < 1e-5


def test_what_is_the_same_for_all_samples_enters_a_part(tmp_path):
    """Positions that Paddle computes: their first axis is 1, or rows of a map of open size."""

    def layers(x):
        places = unknown(nn.Conv2D(3, 8, 1)(paddle.ones([1, 3, 16, 16])))
        rows = paddle.kthvalue(paddle.ones([paddle.shape(x)[2], 5]), 1, 1)[0].unsqueeze([0, 1, 3])
        return nn.Conv2D(8, 4, 1)(F.relu(nn.Conv2D(3, 8, 3, padding=1)(x) + places) * rows)

    dense = save_net(tmp_path, layers, SHAPE, sparsity=0.5)
    table = convert(dense, tmp_path / "fast")
    assert len(table.parts) == 1 and table.covered > 0.9, str(table)
    for batch in (1, 3):
        found, want = run(str(tmp_path / "fast"), image(batch)), open_model(dense).run(x=image(batch))
        assert relative_error(found[0], want[0]) < 1e-5


def branch(x):
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    x = paddle.static.nn.cond(x.mean() > 0.1, lambda: x * 2, lambda: x - 1)
    return nn.Conv2D(8, 4, 1)(F.relu(nn.Conv2D(8, 8, 3)(x)))


def loop(x):
    inner = nn.Conv2D(8, 8, 3, padding=1)
    x = F.relu(nn.Conv2D(8, 8, 3, padding=1)(F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))))
    times = paddle.zeros([1], "int64")
    times, x = paddle.static.nn.while_loop(lambda i, y: i < 3, lambda i, y: [i + 1, F.relu(inner(y))], [times, x])
    return nn.Conv2D(8, 4, 1)(x)


@pytest.mark.parametrize("layers", [branch, loop])
def test_branches_and_loops_stay_with_paddle_and_the_rest_is_right(tmp_path, layers, caplog):
    dense = save_net(tmp_path, layers, SHAPE)
    table = convert(dense, tmp_path / "fast")
    assert table.parts, str(table)
    assert ("computes while wrongly; call config.disable_mkldnn()" in caplog.text) == (layers is loop)
    found, want = run(str(tmp_path / "fast"), image()), open_model(dense).run(x=image())
    assert relative_error(found[0], want[0]) < 1e-5


def test_a_converter_that_fails_costs_only_its_op(tmp_path, monkeypatch):
    def fail(reader, op):
        raise KeyError("rounding")

    monkeypatch.setitem(OPS, "tanh", fail)
    dense = save_net(tmp_path, lambda x: paddle.tanh(nn.Conv2D(3, 4, 1)(x)), SHAPE)
    table = convert(dense, tmp_path / "fast")
    assert len(table.parts) == 1 and "used in a way that the runtime does not know (KeyError('rounding'))" in str(table)
