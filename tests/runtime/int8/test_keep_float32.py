# SPDX-License-Identifier: Apache-2.0
"""The rule by which layers stay in float32: those that hurt most for the time that int8 saves."""

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from int8_models import DATA
from int8_nets import SHAPE, images, saved
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import Int8, Session, convert
from paddle_unstructured.runtime.border import IMAGE, Input
from paddle_unstructured.runtime.int8.errors import Calibrated, relative
from paddle_unstructured.runtime.int8.keep_float32 import Numbers, affordable, hurting, rounded_numbers
from paddle_unstructured.runtime.int8.quantize import calibrate
from paddle_unstructured.runtime.net import Layer, Net, Output, input_layer
from paddle_unstructured.runtime.plan import Window
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model, save_model

pytestmark = pytest.mark.usefixtures("static")
A, B, C = (Layer("activation", name=name) for name in "abc")
AROUND = Window((3, 3), pad=(1, 1, 1, 1))
EQUAL = {A: 1.0, B: 1.0, C: 1.0}


def test_nothing_stays_where_the_error_is_small_enough():
    assert hurting([Numbers(0.03, (A,)), Numbers(0.04, (B,))], {}, EQUAL, 0.05) == {}  # 3, 4 and 5


def test_the_worst_numbers_become_exact_first():
    numbers = [Numbers(0.03, (A,)), Numbers(0.12, (B,)), Numbers(0.04, (C,))]
    assert hurting(numbers, {}, EQUAL, 0.06) == {B: "numbers that add 12.00% to the outputs"}
    assert hurting(numbers, {}, EQUAL, 0.045).keys() == {B, C}
    assert hurting(numbers, {}, EQUAL, 0.001).keys() == {A, B, C}


def test_an_error_counts_by_its_square_for_what_it_costs():
    numbers = [Numbers(0.1, (A,)), Numbers(0.2, (B,))]
    assert hurting(numbers, {}, {A: 1.0, B: 3.9}, 0.11).keys() == {B}
    assert hurting(numbers, {}, {A: 1.0, B: 4.1}, 0.21).keys() == {A}


def test_all_that_touch_numbers_stay_and_what_is_kept_costs_nothing_again():
    numbers = [Numbers(0.2, (A, B)), Numbers(0.1, (B, C)), Numbers(0.1, (C,))]
    assert hurting(numbers, {}, EQUAL, 0.15).keys() == {A, B}
    assert hurting(numbers, {A: "", B: ""}, EQUAL, 0.15) == {}  # in float32 anyway: 0.1 and 0.1 are left
    assert hurting(numbers, {}, EQUAL, 0.1).keys() == {A, B, C}  # C makes both exact


def test_a_large_net_is_measured_on_fewer_samples():
    source = input_layer(Input("x", "float32", IMAGE, (-1, 2, 8, 8)))
    net = Net([source], [Output(Layer("activation", (Layer("activation", (source,)),)))])
    batch = [np.arange(32.0).reshape(32, 1, 1, 1) * np.ones((1, 2, 8, 8))]
    first = {cost: affordable(net, batch, {A: cost})[0][:, 0, 0, 0].tolist() for cost in (1e9, 1e11, 1e13)}
    assert first == {1e9: [*range(32)], 1e11: [0, 3, 6, 9, 12, 15, 18, 21, 24, 27], 1e13: [0]}


def test_numbers_are_made_moved_and_read_somewhere():
    """A matrix returns exact numbers, one filter per channel bytes; a maximum hands the bytes on."""
    source = input_layer(Input("x", "float32", IMAGE, (-1, 2, 8, 8)))
    first = Layer("conv", (source,), weight=np.ones((2, 2, 1, 1)), bias=np.zeros(2))
    pooled = Layer("pool", (first,), words={"type": "max"})
    filters = Layer("conv", (pooled,), weight=np.ones((2, 1, 3, 3)), bias=np.zeros(2), window=AROUND, groups=2)
    last = Layer("conv", (filters,), weight=np.ones((3, 2, 1, 1)), bias=np.zeros(3))
    whole = Calibrated(Net([source], [Output(last)]), {}, {}, {})
    found = rounded_numbers(whole, {source: 0.1, first: 0.3, pooled: 0.4, filters: 0.2})
    assert [(one.error, one.layers) for one in found] == [
        (0.1, (first,)),
        (0.5, (pooled, filters)),
        (0.2, (filters, last)),
        (0.0, ()),
    ]


def uneven(folder):
    """Channels that reach from 0.01 to 100: their bytes hold the large ones only. A hundredth of the rest is left."""

    def layers(x):
        x = F.relu(nn.Conv2D(3, 16, 3, padding=1)(x))
        x = F.relu(nn.Conv2D(16, 16, 1)(x))
        return nn.Linear(8, 10)(F.adaptive_avg_pool2d(nn.Conv2D(16, 8, 3)(x), 1).flatten(1))

    model, scale = open_model(save_net(folder, layers, SHAPE, sparsity=0.0)), np.logspace(-2, 2, 16).astype("float32")
    first, second = (model.graph.array(f"conv2d_{i}.w_0").copy() for i in (0, 1))
    model.graph.store("conv2d_0.w_0", first * scale[:, None, None, None])
    model.graph.store("conv2d_1.w_0", second / scale[None, :, None, None])
    save_model(model, folder / "uneven")
    return folder / "uneven"


def test_by_default_a_net_that_would_lose_too_much_keeps_the_layer_that_hurts(tmp_path):
    model, x = uneven(tmp_path), images(8, seed=1)
    exact, errors, kept = open_model(model).run(x=x), {}, {}
    for most in (None, 1):
        table = convert(model, tmp_path / "fast", int8=Int8(DATA, most_error=most))
        errors[most] = relative(exact, Session(tmp_path / "fast").run(x))
        kept[most] = {one.layer: one.why for one in table.choices if one.kernel.startswith("fp32")}
        assert "error of the outputs" in table.note and "held out" in table.note
    assert errors[1] > 0.15 and errors[None] < 0.12
    assert kept[1] == {} and kept[None].keys() == {"conv2d_1.w_0"} and "add" in kept[None]["conv2d_1.w_0"]


def test_a_net_that_loses_little_keeps_nothing(tmp_path):
    whole = calibrate(read_net(open_model(saved(tmp_path, "residual"))), Int8(DATA), [[DATA]])
    assert 0 < whole.error < 0.1 and not any("add" in why for why in whole.floats.values())


def test_where_no_error_is_small_enough_all_that_can_stays_in_float32(tmp_path):
    net = read_net(open_model(saved(tmp_path, "residual")))
    whole = calibrate(net, Int8(DATA, most_error=1e-9), [[DATA]])
    assert whole.error < 1e-6 and all(layer in whole.floats for layer in net_layers(whole.net))


def net_layers(net):
    from paddle_unstructured.runtime.net import layers_of

    return layers_of(net)


def test_infinite_numbers_stay_in_float32_and_cost_nothing_else(tmp_path):
    def layers(x):
        x = nn.Conv2D(3, 8, 3, padding=1)(x)
        gone = paddle.where(x > 0, x, paddle.full_like(x, float("-inf")))
        return nn.Conv2D(8, 4, 1)(paddle.exp(gone) * x)

    dense = save_net(tmp_path, layers, [-1, 3, 8, 8], sparsity=0.0)
    x = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype("float32")
    table = convert(dense, tmp_path / "fast", int8=Int8(x))
    assert table.converted and "infinite numbers" in str(table)
    assert relative_error(Session(tmp_path / "fast").run(x)[0], open_model(dense).run(x=x)[0]) < 0.05
