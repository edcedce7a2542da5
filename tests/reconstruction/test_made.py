# SPDX-License-Identifier: Apache-2.0
"""Made inputs that go through a net as its data did, since norms have the statistics of these meanwhile."""

import numpy as np
import pytest
from paddle import nn
from saved_nets import saved, structured

from paddle_unstructured import reconstruct
from paddle_unstructured.export import recalibrate
from paddle_unstructured.export.images import ImageInput, made_images
from paddle_unstructured.reconstruction.made import norms_of_made_inputs

pytestmark = pytest.mark.usefixtures("static")


def deep(x):
    for _ in range(4):
        x = nn.functional.relu(nn.BatchNorm2D(16)(nn.Conv2D(x.shape[1], 16, 3, padding=1)(x)))
    return nn.Linear(16, 10)(x.mean([2, 3]))


def one(x):
    return nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x))


def data(seed, count=128):
    """What a net was trained on: images with little of what made ones have."""
    images = structured(np.random.default_rng(seed), count, size=16)
    return np.abs(images) ** 1.5 * np.float32([4.0, 0.5, 1.0])[:, None, None] + 2.0


def trained(folder, build):
    model = saved(folder, build, (3, 16, 16))
    recalibrate(model, [{"x": data(0)}])
    return model


def made(model, count=128):
    return [{"x": made_images(ImageInput.of(model, None), count)}]


def statistics(model):
    kinds = ("norm mean", "norm variance")
    return {param.name: model.graph.stored(param.name) for param in model.graph.params() if param.role in kinds}


def test_meanwhile_a_norm_gives_made_inputs_the_deviation_of_data(tmp_path):
    model = trained(tmp_path, one)
    batches = made(model)
    alien = model.run(**batches[0])[0]
    with norms_of_made_inputs(model, batches):
        seen = model.run(**batches[0])[0]
    assert np.abs(alien.mean((0, 2, 3))).max() > 0.2
    np.testing.assert_allclose(seen.mean((0, 2, 3)), 0.0, atol=1e-3)
    np.testing.assert_allclose(seen.std((0, 2, 3)), 1.0, atol=1e-2)


def test_norms_that_nothing_changes_come_back_bit_for_bit(tmp_path):
    model = trained(tmp_path, deep)
    before = statistics(model)
    assert len(before) == 8
    with norms_of_made_inputs(model, made(model)):
        assert all((model.graph.stored(name) != array).any() for name, array in before.items())
    for name, array in before.items():
        assert model.graph.stored(name).tobytes() == array.tobytes()


def test_a_change_is_carried_over_in_deviations(tmp_path):
    model = trained(tmp_path, one)
    before = statistics(model)
    mean, variance = sorted(before)  # w_1 and w_2
    with norms_of_made_inputs(model, made(model)):
        there = statistics(model)
        model.graph.store(mean, there[mean] + 0.5 * np.sqrt(there[variance]))
        model.graph.store(variance, 4.0 * there[variance])
    after = statistics(model)
    np.testing.assert_allclose(after[mean], before[mean] + 0.5 * np.sqrt(before[variance]), rtol=1e-3)
    np.testing.assert_allclose(after[variance], 4.0 * before[variance], rtol=1e-3)


@pytest.mark.parametrize("epsilon", [1e-5, 0.0])
def test_a_channel_that_made_inputs_do_not_vary_in_keeps_what_it_was(tmp_path, epsilon):
    def build(x):
        return nn.BatchNorm2D(3, epsilon=epsilon)(nn.functional.relu(x - 1000.0) + x[:, :1] * 0)

    model = saved(tmp_path, build, (3, 16, 16))
    before = statistics(model)
    with norms_of_made_inputs(model, made(model)):
        assert any((model.graph.stored(name) != array).any() for name, array in before.items())
    for name, array in before.items():
        np.testing.assert_array_equal(model.graph.stored(name), array)


def test_the_mean_of_a_channel_that_made_inputs_do_not_vary_in_moves_by_little(tmp_path):
    def build(x):
        return nn.BatchNorm2D(3)(nn.functional.relu(x - 1000.0) + x[:, :1] * 0)

    model = saved(tmp_path, build, (3, 16, 16))
    before = statistics(model)
    mean, variance = sorted(before)
    with norms_of_made_inputs(model, made(model)):
        model.graph.store(mean, model.graph.stored(mean) + np.float32(0.1))
    np.testing.assert_allclose(model.graph.stored(mean), before[mean] + 1.0, rtol=1e-5)
    np.testing.assert_array_equal(model.graph.stored(variance), before[variance])


def test_large_inputs_go_through_a_few_at_a_time(tmp_path, monkeypatch):
    model, counts = saved(tmp_path, one, (3, 256, 256)), []

    def counted(model, batches):
        counts.extend(len(batch["x"]) for batch in batches)

    monkeypatch.setattr("paddle_unstructured.reconstruction.made.recalibrate", counted)
    with norms_of_made_inputs(model, [{"x": np.zeros((20, 3, 256, 256), np.float32)}]):
        assert counts == [8, 8, 4]


def test_after_an_error_norms_are_what_they_were(tmp_path):
    model = trained(tmp_path, deep)
    before = statistics(model)
    with pytest.raises(KeyboardInterrupt), norms_of_made_inputs(model, made(model)):
        raise KeyboardInterrupt
    for name, array in before.items():
        assert model.graph.stored(name).tobytes() == array.tobytes()


def test_without_norms_nothing_happens(tmp_path, caplog):
    model = saved(tmp_path, lambda x: nn.Conv2D(3, 8, 3)(x), (3, 16, 16))
    before = model.run(x=data(1))[0]
    with norms_of_made_inputs(model, made(model)):
        assert (model.run(x=data(1))[0] == before).all()
    assert (model.run(x=data(1))[0] == before).all()
    assert not caplog.text


def test_norms_that_cannot_be_measured_stay_and_a_warning_says_why(tmp_path, caplog):
    def build(x):
        norm = nn.BatchNorm2D(3)
        return norm(nn.Conv2D(3, 3, 3)(norm(x)))

    model = saved(tmp_path, build, (3, 16, 16))
    before = statistics(model)
    with norms_of_made_inputs(model, made(model)):
        for name, array in before.items():
            assert model.graph.stored(name).tobytes() == array.tobytes()
    assert "batch norms cannot be measured: a batch updates batch_norm2d_0.w_1 more than once" in caplog.text


def test_real_inputs_lose_less_than_without(tmp_path):
    errors = []
    for folder, helped in (("plain", False), ("helped", True)):
        (tmp_path / folder).mkdir()
        np.random.seed(0)
        model = trained(tmp_path / folder, deep)
        wanted = model.run(x=data(2))[0]
        batches = made(model)
        if helped:
            with norms_of_made_inputs(model, batches):
                reconstruct(model, batches, ratio=0.6, steps=0)
        else:
            reconstruct(model, batches, ratio=0.6, steps=0)
        found = model.run(x=data(2))[0]
        errors.append(float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted - wanted.mean(0))))

    assert errors[1] < 0.5 * errors[0]
