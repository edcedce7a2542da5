# SPDX-License-Identifier: Apache-2.0
"""What int8 costs layer by layer, measured, and the samples that are held out for it."""

import numpy as np
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from int8_models import DATA
from int8_nets import SHAPE, images, saved
from runtime_nets import save_net

from paddle_unstructured.runtime import Int8, Session, convert
from paddle_unstructured.runtime.border import IMAGE, Input
from paddle_unstructured.runtime.int8.calibrators import CALIBRATORS
from paddle_unstructured.runtime.int8.errors import SAMPLES, hold_out, relative
from paddle_unstructured.runtime.int8.quantize import calibrate
from paddle_unstructured.runtime.net import Layer, Net, Output, input_layer
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model, save_model

pytestmark = pytest.mark.usefixtures("static")


def test_errors_are_of_lengths_and_the_worst_output_counts():
    a, b = np.array([3.0, 4.0]), np.array([1.0])
    assert relative([a, b], [a, b]) == 0.0
    assert relative([a, b], [a + [0.0, 0.5], b]) == pytest.approx(0.1)
    assert relative([a, b], [a + [0.0, 0.5], b * 1.5]) == pytest.approx(0.5)


def test_the_report_has_a_row_for_every_layer_and_its_total_is_near_the_outputs_error(tmp_path):
    prefix = saved(tmp_path, "mobile")
    table = convert(prefix, tmp_path / "fast", int8=Int8(DATA, report=True, most_error=1))
    names = [one.layer for one in table.errors]
    assert {"conv2d_0.w_0", "linear_0.w_0", "hard_sigmoid", "multiply"} <= set(names) and "hard_swish" not in names
    assert all(one.kernel == "int8" and one.alone > 0 for one in table.errors)
    assert table.errors[0].layer == "x" and all(one.so_far > 0 for one in table.errors[1:])
    together = sum(one.alone**2 for one in table.errors) ** 0.5
    assert table.errors[-1].so_far / 2 < together < table.errors[-1].so_far * 2
    assert "adds to the outputs" in str(table)


def test_a_layer_whose_channels_differ_by_orders_of_magnitude_is_found_and_kept(tmp_path):
    """Behind a plane whose channels reach from 0.01 to 100, bytes hold the large ones only."""

    def layers(x):
        x = F.relu(nn.Conv2D(3, 16, 3, padding=1)(x))
        x = F.relu(nn.Conv2D(16, 16, 1)(x))
        return nn.Conv2D(16, 8, 1)(x)

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    model, scale = open_model(prefix), np.logspace(-2, 2, 16).astype("float32")
    first, second = (model.graph.array(f"conv2d_{i}.w_0").copy() for i in (0, 1))
    model.graph.store("conv2d_0.w_0", first * scale[:, None, None, None])
    model.graph.store("conv2d_1.w_0", second / scale[None, :, None, None])
    save_model(model, tmp_path / "uneven")
    x = images(8, seed=1)
    errors = {}
    for most in (1, 0.05):
        table = convert(tmp_path / "uneven", tmp_path / "fast", int8=Int8(DATA, most_error=most, report=True))
        errors[most] = relative(model.run(x=x), Session(tmp_path / "fast").run(x))
        kept = {one.layer for one in table.errors if one.kernel == "fp32"}
        assert ("conv2d_1.w_0" in kept) == (most < 1)
    assert errors[1] > 0.1 and errors[0.05] < 0.06


@pytest.mark.parametrize("most", [0, 1.1, -0.1, float("nan")])
def test_an_error_that_is_no_fraction_is_refused(most):
    with pytest.raises(ValueError, match="`most_error` must be"):
        Int8(DATA, most_error=most)


def test_a_report_needs_data():
    with pytest.raises(ValueError, match="measures on `data`"):
        Int8(ranges={}, report=True)
    with pytest.raises(ValueError, match="measures on `data`"):
        Int8(ranges={}, most_error=0.02)


def test_a_rule_that_is_named_by_nobody_is_the_best_of_all(tmp_path):
    net = read_net(open_model(saved(tmp_path, "mobile")))
    errors = {rule: calibrate(net, Int8(DATA, calibration=rule, most_error=1), [[DATA]]).error for rule in CALIBRATORS}
    found = calibrate(net, Int8(DATA, most_error=1), [[DATA]])
    assert found.error == min(errors.values()) == errors[found.calibration] < max(errors.values())


def net_of(*dims):
    return Net([input_layer(Input("x", "float32", IMAGE, dims))], [])


def test_of_few_samples_some_are_held_out_and_one_serves_for_both():
    net, data = net_of(-1, 1, 1, 1), np.arange(5.0, dtype="float32").reshape(-1, 1, 1, 1)
    rest, held = hold_out(net, [[data[:2]], [data]])
    assert [batch[0].ravel().tolist() for batch in rest] == [[0, 1], [1, 3]] and held[0].ravel().tolist() == [0, 2, 4]
    many = np.arange(32, dtype="float32").reshape(-1, 1, 1, 1)
    assert hold_out(net, [[many]])[1][0].ravel().tolist() == list(range(0, 32, 4))  # a quarter, as of 128
    rest, held = hold_out(net, [[data[:1]]])
    assert rest[0][0].ravel().tolist() == held[0].ravel().tolist() == [0]


def test_few_samples_say_of_others_how_far_off_their_ranges_are():
    """One sample of four is ten times as large: who measures on what ranges come from does not see what is clipped."""
    [x] = net_of(-1, 1, 1, 1).inputs
    net = Net([x], [Output(Layer("conv", (x,), "w", np.ones((1, 1, 1, 1)), np.zeros(1)))])
    data = np.array([10.0, 1.0, 0.5, 0.8], "float32").reshape(-1, 1, 1, 1)
    found = calibrate(net, Int8(data, most_error=1, calibration="minmax"), [[data]])
    assert found.error is not None and found.error > 0.5
    assert found.ranges[found.net.inputs[0]][1] == 10.0  # in the end all samples count


def test_of_many_samples_every_so_many_are_held_out():
    """They may be sorted by class."""
    net, data = net_of(-1, 1, 1, 1), np.arange(4.0 * SAMPLES, dtype="float32").reshape(-1, 1, 1, 1)
    rest, held = hold_out(net, [[data], [data[:3]]])
    assert held[0].ravel().tolist() == list(range(0, 4 * SAMPLES, 4))
    assert sorted([*held[0].ravel(), *rest[1][0].ravel()]) == data.ravel().tolist() and len(rest[0][0]) == 3
