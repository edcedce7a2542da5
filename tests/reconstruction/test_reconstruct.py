# SPDX-License-Identifier: Apache-2.0
"""Models pruned without training: outputs that stay near, exact zeros, and data that does not fit."""

import logging
from dataclasses import replace

import numpy as np
import paddle
import pytest
import saved_nets
from paddle import nn
from saved_nets import structured

from paddle_unstructured import LAMP, NM, Block, Filter, PerLayer, Uniform
from paddle_unstructured.reconstruction import reconstruct as reconstruct_file
from paddle_unstructured.reconstruction import sweep
from paddle_unstructured.reconstruction.layers import SolvableLayer, solvable
from paddle_unstructured.reconstruction.reconstruct import reconstruct

pytestmark = pytest.mark.usefixtures("static")


def convnet(x):
    for outputs, groups in ((16, 1), (16, 16), (24, 1)):
        norm = nn.BatchNorm2D(outputs)
        norm.eval()
        x = nn.functional.relu(norm(nn.Conv2D(x.shape[1], outputs, 3, padding=1, groups=groups, bias_attr=False)(x)))
    return nn.Linear(24, 10)(nn.functional.relu(nn.Linear(24, 24)(x.mean([2, 3]))))


def attention(x):
    tokens = nn.Linear(64, 16)(x.flatten(2))
    q, k, v = (nn.Linear(16, 16)(tokens) for _ in range(3))
    mixed = nn.functional.softmax(q @ k.transpose([0, 2, 1]) / 4) @ v
    return nn.Linear(16, 5)(nn.LayerNorm(16)(tokens + mixed).mean(1))


def saved(folder, build):
    """A model whose batch norms remember the data."""
    model = saved_nets.saved(folder, build)
    if build is convnet:
        from paddle_unstructured.export import recalibrate

        recalibrate(model, data())
    return model


def data(seed=0, count=128):
    images = structured(np.random.default_rng(seed), count)
    return [{"x": images[i : i + 32]} for i in range(0, count, 32)]


def error(model, expected, x):
    (found,) = model.run(x=x)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


PATTERNS = {
    "single": {"ratio": 0.6},
    "1x4": {"ratio": 0.5, "pattern": "1x4"},
    "2x1": {"ratio": 0.5, "pattern": Block(2, 1)},
    "2:4": {"ratio": 0.5, "pattern": NM(2, 4), "allocation": Uniform()},
    "filters": {"ratio": 0.25, "pattern": Filter()},
}
CASES = [
    pytest.param(build, words, id=f"{build.__name__}-{name}", marks=[pytest.mark.slow] if is_slow else [])
    for build, quick in ((convnet, ("1x4", "2x1", "filters")), (attention, ("single", "2:4")))
    for name, words in PATTERNS.items()
    for is_slow in [name not in quick]
]


def test_layers_that_lose_nothing_repair_what_one_before_them_lost(tmp_path):
    x, errors = structured(np.random.default_rng(9), 200), []
    for rules in (None, [{"op_names": ["conv2d_0.*"], "sparsity": 0.7}]):  # which select no other layer
        model = saved(tmp_path, convnet)
        (expected,) = model.run(x=x)
        words = {"rules": rules} if rules else {"allocation": PerLayer({"conv2d_0.*": 0.7})}
        done = reconstruct(model, data(), **words)
        errors.append(error(model, expected, x))
        zeros = {row.name: row.zeros for row in done.rows}
        assert zeros.pop("conv2d_0.w_0") == round(0.7 * 3 * 9 * 16) and not any(zeros.values())
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize(("build", "words"), CASES)
def test_outputs_on_other_inputs_are_nearer_than_by_magnitude(tmp_path, build, words):
    x = structured(np.random.default_rng(9), 200)
    errors, zeros = {}, {}
    for method in ("magnitude", "reconstruct"):
        model = saved(tmp_path, build)
        (expected,) = model.run(x=x)
        done = reconstruct(model, data(), method=method, **words)
        errors[method] = error(model, expected, x)
        counted = {p.name: p.size - np.count_nonzero(model.graph.array(p.name)) for p in done.pruner.params}
        assert counted == done.pruner.pruned_by_layer()  # stored weights are as sparse as the masks say
        zeros[method] = sum(counted.values())
        asked = words["ratio"] * sum(p.size for p in done.pruner.params)
    of_filters = isinstance(words.get("pattern"), Filter)  # blocks and filters fall as a whole, these of 64 weights
    assert list(zeros.values()) == pytest.approx([asked, asked], rel=0.1, abs=64 if of_filters else 0)
    much = 0.95 if of_filters else 0.75  # whole filters leave little to make up with
    assert errors["reconstruct"] < much * errors["magnitude"]


@pytest.mark.parametrize(("build", "has_norms"), [(convnet, True), (attention, False)])
def test_who_asks_for_batch_norms_anew_is_told_that_there_are_none(tmp_path, caplog, build, has_norms):
    with caplog.at_level(logging.WARNING):
        done = reconstruct(saved(tmp_path, build), data(), ratio=0.5, method="recalibrate")
    assert done.recalibrated == has_norms
    assert ("has no batch norms to measure anew, so that this is what" in caplog.text) != has_norms


def test_by_default_every_layer_keeps_four_tenths_of_the_overall_density(tmp_path):
    def uneven(x):  # of the last layer a few weights hold the energy
        weight = np.random.default_rng(0).lognormal(0.0, 3.0, [32, 60]).astype("float32")
        last = nn.Linear(32, 60, weight_attr=nn.initializer.Assign(weight))
        return last(nn.functional.relu(nn.Linear(x.shape[1] * 64, 32)(x.flatten(1))))

    most = {}
    for words in ({}, {"allocation": LAMP()}):
        done = reconstruct(saved(tmp_path, uneven), data(), ratio=0.5, steps=0, **words)
        assert sum(row.zeros for row in done.rows) == round(0.5 * sum(row.weights for row in done.rows))
        most[bool(words)] = max(row.zeros / row.weights for row in done.rows)
    assert most[False] <= 0.8 < most[True]


def test_no_layer_gets_worse_on_inputs_that_are_held_back(tmp_path):
    done = reconstruct(saved(tmp_path, convnet), data(), ratio=0.7)
    assert len(done.rows) == 5 and all(row.after <= row.before for row in done.rows)


def test_the_same_input_gives_the_same_bits(tmp_path):
    weights = []
    for _ in range(2):
        model = saved(tmp_path, convnet)
        reconstruct(model, data(), ratio=0.7)
        weights.append([model.graph.array(p.name) for p in model.graph.params()])
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_the_table_says_how_near_the_outputs_are(tmp_path):
    done = reconstruct(saved(tmp_path, convnet), data(), ratio=0.5)
    text = str(done)
    assert "error by magnitude" in text and "first answers that agree with the dense net: " in text
    lost, near = (replace(done, near=replace(done.near, error=error)) for error in (0.6, 0.4))
    assert "little of the net is left: prune less" in str(lost) and "little of" not in str(near)


def test_dropout_that_a_saved_model_kept_does_not_blur_what_is_reconstructed(tmp_path):
    def forgetful(x):
        x = nn.functional.dropout(nn.Linear(192, 32)(x.flatten(1)), 0.5, axis=1)
        return nn.Linear(32, 10)(nn.functional.relu(x))

    done = reconstruct(saved(tmp_path, forgetful), data(), ratio=0.5)
    assert done.error < 0.3
    assert np.array_equal(*(done.model.run(x=data()[0]["x"])[0] for _ in range(2)))


def test_nothing_to_prune_changes_no_output(tmp_path):
    model, x = saved(tmp_path, convnet), structured(np.random.default_rng(3), 20)
    (expected,) = model.run(x=x)
    reconstruct(model, data(), ratio=0.0)
    assert error(model, expected, x) < 1e-5


def test_data_in_another_scale_is_warned_of(tmp_path, caplog):
    model = saved(tmp_path, convnet)
    with caplog.at_level(logging.WARNING):
        reconstruct(model, data(), ratio=0.5)
        assert "does not look like" not in caplog.text
        reconstruct(saved(tmp_path, convnet), [{"x": 255 * batch["x"]} for batch in data()], ratio=0.5)
    assert "does not look like what the net was trained on: at the first batch norm, batch_norm2d_0.w_1" in caplog.text


@pytest.mark.parametrize(
    "given, words",
    [
        ([], "at least 4 samples, got"),
        ([{"x": np.zeros((3, 3, 8, 8))}], "at least 4 samples, got"),
        ([{"x": np.full((8, 3, 8, 8), np.nan)}], "must be finite, but x has NaN or infinity in batch 1"),
        ([{"x": np.zeros((8, 10))}], "shape"),
        ([{"y": np.zeros((8, 3, 8, 8))}], "arrays for x"),
    ],
)
def test_data_that_does_not_fit_is_refused_and_nothing_is_changed(tmp_path, given, words):
    model = saved(tmp_path, convnet)
    before = [model.graph.array(p.name) for p in model.graph.params()]
    with pytest.raises(ValueError, match=words):
        reconstruct(model, given, ratio=0.5)
    assert all(np.array_equal(a, model.graph.array(p.name)) for a, p in zip(before, model.graph.params()))


def mute(x):
    """The second layer reads nothing but zeros; the first one a constant channel."""
    first = nn.Conv2D(3, 8, 3, bias_attr=False)
    hidden = nn.functional.relu(nn.functional.relu(first(x)) * 0.0)
    return nn.Linear(8, 5)((nn.Conv2D(8, 8, 3)(hidden) + 1.0).mean([2, 3]))


def test_a_layer_that_never_fires_and_a_constant_channel_are_said_and_stay_finite(tmp_path):
    model, images = saved(tmp_path, mute), structured(np.random.default_rng(0), 64)
    images[:, 1] = 0.0
    done = reconstruct(model, [{"x": images}], ratio=0.5)
    notes = {row.name: row.note for row in done.rows}
    assert notes["conv2d_0.w_0"] == "9 of 27 inputs are always zero"
    assert notes["conv2d_1.w_0"] == "all its inputs are zero on this data"
    assert all(np.isfinite(model.graph.array(p.name)).all() for p in model.graph.params())
    assert all(np.isfinite([row.before, row.after]).all() and row.after < 10 for row in done.rows)


def plain(x):
    return nn.Linear(24, 10)(nn.functional.relu(nn.Conv2D(3, 24, 3)(x)).mean([2, 3]))


@pytest.mark.parametrize(
    "images, words",
    [
        (np.random.default_rng(0).integers(0, 256, (32, 3, 8, 8)), "x holds whole numbers up to 255"),
        (np.ones((32, 3, 8, 8)), "all samples of x are the same"),
    ],
)
def test_raw_pixels_and_samples_that_are_all_the_same_are_warned_of(tmp_path, caplog, images, words):
    with caplog.at_level(logging.WARNING):
        reconstruct(saved(tmp_path, plain), [{"x": images}], ratio=0.5)
    assert words in caplog.text


def test_weights_that_are_rounded_are_near_and_on_a_grid(tmp_path):
    model = saved(tmp_path, attention)
    done = reconstruct(model, data(), ratio=0.5, bits=4)
    assert "+ rounding to nearest" in str(done) and all(row.rounded <= row.nearest for row in done.rows)
    assert sum(row.rounded for row in done.rows) < sum(row.nearest for row in done.rows)
    weight = model.graph.array("linear_0.w_0")  # [inputs, outputs]
    steps = weight / (np.abs(weight).max(0) / 7)
    assert np.allclose(steps, np.rint(steps), atol=1e-4) and (weight == 0).any()


def test_transposed_convolutions_and_recurrent_weights_are_repaired(tmp_path):
    def upward(x):
        wide = nn.functional.relu(nn.Conv2DTranspose(3, 12, 4, stride=2, padding=1)(x))
        return nn.LSTM(16, 8)(nn.Conv2DTranspose(12, 1, 3, padding=1)(wide).flatten(1, 2))[0].mean(1)

    done = reconstruct(saved(tmp_path, upward), data(), ratio=0.5)
    rows = {row.name: row for row in done.rows}
    assert rows["conv2d_transpose_0.w_0"].after < 0.5 * rows["conv2d_transpose_0.w_0"].before
    assert rows["lstm_cell_0.w_0"].after < rows["lstm_cell_0.w_0"].before
    assert rows["lstm_cell_0.w_1"].after < rows["lstm_cell_0.w_1"].before


def test_a_convolution_of_sequences_is_repaired_as_dygraph_saves_it(tmp_path):
    def build(x):
        first, second = nn.Conv1D(3, 16, 5, padding=2), nn.Conv1D(16, 16, 3, dilation=2, groups=2)
        wide = nn.functional.conv1d(x.flatten(2), paddle.assign(first.weight), first.bias, padding=2)
        return nn.Linear(16, 5)(nn.functional.relu(second(nn.functional.relu(wide))).mean(2))

    done = reconstruct(saved(tmp_path, build), data(), ratio=0.5, steps=0)
    assert len(done.rows) == 3 and all(row.after is not None and row.after < row.before for row in done.rows)


def test_a_weight_with_several_readers_serves_them_all(tmp_path):
    def build(x):
        shared, last = nn.Linear(8, 8), nn.Linear(8, 5)
        first = shared(x)
        wide = shared(nn.functional.relu(shared(nn.functional.relu(first))) + 10 * x[:, :, ::-1])
        return last(nn.functional.relu(wide).mean([1, 2]))

    errors = []
    for method in ("magnitude", "reconstruct"):
        done = reconstruct(saved(tmp_path, build), data(), ratio=0.5, method=method, steps=0)
        errors.append(done.error)
    shared = next(row for row in done.rows if row.name == "linear_0.w_0")
    assert shared.after < shared.before and not shared.note and errors[1] < 0.7 * errors[0]
    graph = done.model.graph
    layer = solvable(graph, next(p for p in graph.params() if p.name == "linear_0.w_0"), shared=True)
    assert isinstance(layer, SolvableLayer) and len(layer.also) == 2 and layer.sink is None


@pytest.mark.parametrize("pattern", ["1x4", "16x4"])
def test_zeros_in_the_table_are_those_in_the_weights_and_all_that_were_asked_for(tmp_path, pattern):
    def net(x):  # 24 = 16 + 8 outputs, 6 = 4 + 2 and 27 = 6 · 4 + 3 inputs: blocks of more than one size
        x = nn.functional.relu(nn.Conv2D(6, 24, (1, 7), padding=(0, 3))(nn.functional.relu(nn.Conv2D(3, 6, 1)(x))))
        x = x.mean([2, 3])
        for width in (27, 30, 27, 30):
            x = nn.functional.relu(nn.Linear(x.shape[-1], width)(x))
        return nn.Linear(30, 5)(x)

    done = reconstruct(saved(tmp_path, net), data(count=64), pattern=pattern, ratio=0.7, steps=0)
    assert any(row.damping is not None for row in done.rows)
    for row in done.rows:
        assert row.zeros == int((done.model.graph.stored(row.name) == 0).sum())
    assert done.pruner.pruned_by_layer() == {row.name: row.zeros for row in done.rows}
    block = 4 if pattern == "1x4" else 64
    selected = sum(param.size for param in done.pruner.params)
    # The cut of the whole net may be short of one block, and layers are of what is no sum of their blocks.
    assert 0 <= round(0.7 * selected) - sum(row.zeros for row in done.rows) < 2 * block


def test_a_layer_that_no_row_reaches_stays_as_it_was_cut(tmp_path):
    """As the head of a detector where there are no boxes."""

    def net(x):
        hidden = nn.functional.relu(nn.Linear(64, 16)(x.flatten(2)))  # [n, 3, 16]
        rows = paddle.gather(hidden.reshape([-1, 16]), paddle.nonzero(hidden.mean(2).flatten() > 1e9).flatten())
        return nn.Linear(16, 5)(hidden.mean(1)) + nn.Linear(16, 5)(rows).sum()

    model = saved(tmp_path, net)
    dense = model.copy().graph
    done = reconstruct(model, data(count=64), ratio=0.5, steps=3)
    empty = next(row for row in done.rows if row.note == "no row reaches it on this data")
    weight = done.model.graph.stored(empty.name)
    assert done.error < done.by_magnitude.error and empty.damping is None
    assert empty.zeros == (weight == 0).sum() and (weight == dense.stored(empty.name))[weight != 0].all()


def test_in_how_much_of_a_net_the_target_is_reached_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    done = reconstruct(saved(tmp_path, convnet), data(count=64), pattern="1x4", ratio=0.5, steps=0)
    assert caplog.text.count("the target 0.5 is reached in the") == 1 and done.pruner.target_reached()


def refuses(*_, **__):
    raise AssertionError("there is nothing to solve, to move or to round")


@pytest.mark.parametrize("words", [{}, {"bits": 4}, {"pattern": "1x4"}])
def test_where_no_weight_stays_nothing_is_solved_but_biases_make_up(tmp_path, monkeypatch, caplog, words):
    caplog.set_level(logging.INFO)
    for module, name in ((sweep, "solve"), (sweep, "refit"), (sweep, "compensated"), (reconstruct_file, "refine")):
        monkeypatch.setattr(module, name, refuses)
    model = saved(tmp_path, convnet)
    (dense,) = model.run(**data()[0])
    done = reconstruct(model, data(), ratio=1.0, **words)
    assert all(row.zeros == row.weights and row.damping is None for row in done.rows) and done.refined == 0
    assert not any(row.nearest or row.rounded for row in done.rows)
    assert not any(model.graph.array(param.name).any() for param in done.pruner.params)
    (found,) = model.run(**data()[0])
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0], dense.mean(0), atol=0.5 * dense.std())
    assert done.error < done.by_magnitude.error and "keeps these layers from losing more" not in caplog.text


def test_a_layer_that_loses_every_weight_is_left_while_others_are_solved(tmp_path, monkeypatch):
    solved, moved = [], []
    for name, seen in (("solve", solved), ("refit", solved)):
        real = getattr(sweep, name)
        monkeypatch.setattr(sweep, name, lambda *a, real=real, seen=seen, **k: seen.append(a[2].shape) or real(*a, **k))
    real = reconstruct_file.refine
    monkeypatch.setattr(
        reconstruct_file, "refine", lambda *a, **k: moved.append([n for n in a[2] if "w_0" in n]) or real(*a, **k)
    )
    model = saved(tmp_path, convnet)
    done = reconstruct(model, data(), allocation=PerLayer({"linear_0.w_0": 1.0, "linear_1.w_0": 0.5}), steps=3)
    rows = {row.name: row for row in done.rows}
    assert rows["linear_0.w_0"].zeros == rows["linear_0.w_0"].weights and rows["linear_0.w_0"].damping is None
    assert moved and "linear_0.w_0" not in moved[0] and "linear_1.w_0" in moved[0]
    assert (1, 24, 24) in solved or (1, 10, 24) in solved
