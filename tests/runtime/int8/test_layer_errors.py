# SPDX-License-Identifier: Apache-2.0
"""What int8 costs layer by layer, and the rule by which layers stay in float32."""

import numpy as np
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from int8_models import DATA
from int8_nets import SHAPE, images, saved
from runtime_nets import save_net

from paddle_unstructured.runtime import Int8, Session, convert
from paddle_unstructured.runtime.int8.errors import hurting, relative
from paddle_unstructured.saved_model import open_model, save_model

pytestmark = pytest.mark.usefixtures("static")


def test_the_layers_that_hurt_most_stay_until_the_rest_is_within_the_error():
    alone = {"a": 0.03, "b": 0.04, "c": 0.12, "d": 0.01}
    assert set(hurting(alone, 0.2)) == set()
    assert set(hurting(alone, 0.06)) == {"c"}  # 0.03, 0.04, 0.01 -> 0.051
    assert set(hurting(alone, 0.05)) == {"c", "b"}
    assert hurting(alone, 0.001).keys() == alone.keys() and hurting(alone, 0.06)["c"] == "adds 12.00% to the outputs"


def test_errors_are_of_lengths_and_the_worst_output_counts():
    a, b = np.array([3.0, 4.0]), np.array([1.0])
    assert relative([a, b], [a, b]) == 0.0
    assert relative([a, b], [a + [0.0, 0.5], b]) == pytest.approx(0.1)
    assert relative([a, b], [a + [0.0, 0.5], b * 1.5]) == pytest.approx(0.5)


def test_the_report_has_a_row_for_every_layer_and_its_total_is_near_the_outputs_error(tmp_path):
    prefix = saved(tmp_path, "mobile")
    table = convert(prefix, tmp_path / "fast", int8=Int8(DATA, report=True))
    names = [one.layer for one in table.errors]
    assert {"conv2d_0.w_0", "linear_0.w_0", "hard_sigmoid", "multiply"} <= set(names) and "hard_swish" not in names
    assert all(one.kernel == "int8" and one.alone > 0 and one.so_far > 0 for one in table.errors)
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
    for most in (None, 0.05):
        table = convert(tmp_path / "uneven", tmp_path / "fast", int8=Int8(DATA, most_error=most, report=True))
        errors[most] = relative(model.run(x=x), Session(tmp_path / "fast").run(x))
        kept = {one.layer for one in table.errors if one.kernel == "fp32"}
        assert ("conv2d_1.w_0" in kept) == (most is not None) and "conv2d_2.w_0" not in kept
    assert errors[None] > 0.1 and errors[0.05] < 0.06


@pytest.mark.parametrize("most", [0, 1, -0.1, float("nan")])
def test_an_error_that_is_no_fraction_is_refused(most):
    with pytest.raises(ValueError, match="`most_error` must be"):
        Int8(DATA, most_error=most)


def test_both_need_data():
    for words in ({"report": True}, {"most_error": 0.02}):
        with pytest.raises(ValueError, match="measure on `data`"):
            Int8(ranges={}, **words)
