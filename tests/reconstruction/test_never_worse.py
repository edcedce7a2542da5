# SPDX-License-Identifier: Apache-2.0
"""A net whose outputs are further away than by magnitude alone is pruned by magnitude alone, and says so."""

import math

import numpy as np
import paddle
import pytest
import saved_nets
from paddle import nn
from saved_nets import structured

from paddle_unstructured import reconstruct
from paddle_unstructured.reconstruction import reconstruct as at_work
from paddle_unstructured.reconstruction.answers import Nearness
from paddle_unstructured.reconstruction.rounding import nearest


def net(x):
    norm = nn.BatchNorm2D(8)
    norm.eval()
    return nn.Linear(8, 5)(nn.functional.relu(norm(nn.Conv2D(3, 8, 3)(x))).mean([2, 3]))


def data(count=32):
    return [{"x": structured(np.random.default_rng(0), count)}]


@pytest.fixture
def spoiled(monkeypatch):
    """Weights that are found anew are three times too large."""

    def reconstructed(whose, dense, layers, batches, told, **how):
        graph = whose.model.graph
        for name in (param.name for param in graph.params() if param.role not in at_work._STATISTICS):
            graph.store(name, 3 * graph.stored(name))
        return []

    monkeypatch.setattr(at_work, "_reconstructed", reconstructed)


WORDS = [{"ratio": 0.5}, {"pattern": "1x4", "ratio": 0.25}, {"rules": [{"op_names": ["conv2d_0.*"], "sparsity": 0.5}]}]


@pytest.mark.usefixtures("static")
def test_where_nothing_is_lost_nothing_is_said_of_the_way(tmp_path, caplog):
    done = reconstruct(saved_nets.saved(tmp_path, net), data(), ratio=0.0, steps=3)
    assert done.refused is None and done.error < 1e-6 and "these are kept" not in caplog.text


@pytest.mark.usefixtures("static", "spoiled")
@pytest.mark.parametrize("words", WORDS, ids=["single", "1x4", "rules"])
def test_what_is_further_away_is_not_kept(tmp_path, caplog, words):
    plain = reconstruct(saved_nets.saved(tmp_path, net), data(), method="magnitude", **words)
    done = reconstruct(saved_nets.saved(tmp_path, net), data(), steps=0, **words)
    assert done.refused.error > done.error == plain.error and done.by_magnitude == plain.near
    for name in done.model.param_names:
        assert np.array_equal(done.model.graph.stored(name), plain.model.graph.stored(name))
    assert {row.name: row.zeros for row in done.rows} == done.pruner.pruned_by_layer() == plain.pruner.pruned_by_layer()
    assert f"by magnitude alone, as weights computed anew came to an error of {done.refused.error:.4f}" in str(done)
    assert "these are kept; more inputs help" in caplog.text
    assert "by magnitude alone" not in str(plain) and "on 4 held-back inputs: relative error" in str(plain)


@pytest.mark.usefixtures("static", "spoiled")
def test_the_largest_weights_are_rounded_if_that_is_asked_for(tmp_path):
    plain = reconstruct(saved_nets.saved(tmp_path, net), data(), method="magnitude", ratio=0.5)
    done = reconstruct(saved_nets.saved(tmp_path, net), data(), steps=0, bits=4, ratio=0.5)
    assert done.refused is not None and done.error != plain.error
    weight = plain.model.graph.array("linear_0.w_0").T[None]  # [1, outputs, inputs]
    assert np.array_equal(done.model.graph.array("linear_0.w_0"), nearest(weight, 7)[0].T)


@pytest.mark.usefixtures("spoiled")
def test_a_layer_gets_its_largest_weights_back():
    paddle.seed(0)
    layer = nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    before = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")]
    done = reconstruct(layer, data(), ratio=0.5, steps=0, input_spec=spec)
    assert done.refused is not None
    for name, tensor in layer.state_dict().items():
        if not name.endswith("_mask"):
            kept = tensor.numpy() != 0
            assert np.array_equal(tensor.numpy(), before[name] * kept)
    weights = {name: tensor.numpy() for name, tensor in layer.state_dict().items() if name.endswith("weight")}
    zeros = {name: int((array == 0).sum()) for name, array in weights.items()}
    assert zeros == done.pruner.pruned_by_layer() and sum(zeros.values()) == round(0.5 * (216 + 1440))


@pytest.mark.usefixtures("static")
def test_the_last_line_says_what_magnitude_alone_would_give(tmp_path):
    plain = reconstruct(saved_nets.saved(tmp_path, net), data(64), method="magnitude", ratio=0.5)
    done = reconstruct(saved_nets.saved(tmp_path, net), data(64), ratio=0.5, steps=0)
    assert done.by_magnitude == plain.near and done.refused is None and done.error < plain.error
    said = (
        f"on 8 held-back inputs: relative error of the outputs {done.error:.4f} (by magnitude alone {plain.error:.4f})"
    )
    assert said in str(done)


def test_what_is_not_a_number_is_beyond_what_is():
    near, far, lost = Nearness(0.1, None), Nearness(0.2, 1.0), Nearness(math.nan, None)
    assert far.is_beyond(near) and lost.is_beyond(near)
    assert not near.is_beyond(far) and not near.is_beyond(near) and not near.is_beyond(lost)
