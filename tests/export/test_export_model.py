# SPDX-License-Identifier: Apache-2.0
"""A saved model in, another one out: weights, masks and norms of a training run."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from exported import PARAMS, WEIGHTS, normed, saved, trained, written
from legacy_models import data
from paddle import nn

from paddle_unstructured import (
    checkpoint,
    sparsity_report,
)
from paddle_unstructured.export import export_model

pytestmark = pytest.mark.usefixtures("static")


def test_weights_and_masks_of_a_training_run_go_into_a_saved_model(tmp_path):
    saved(tmp_path / "model")
    net, pruner = trained()
    pruner.save(str(tmp_path / "masks"))
    net.put(WEIGHTS[0], np.ones([4, 6]))  # dense weights: the masks must do it
    paddle.static.save(net.program, str(tmp_path / "train"))
    found = export_model(
        str(tmp_path / "model"),
        str(tmp_path / "out" / "model"),
        weights=str(tmp_path / "train.pdparams"),
        masks=str(tmp_path / "masks"),
    )
    model = written(tmp_path / "out" / "model")
    masks = checkpoint.load(str(tmp_path / "masks"))["masks"]
    for name in PARAMS:
        np.testing.assert_array_equal(model.graph.stored(name), net.get(name) * masks.get(name, True))
    assert found.report == sparsity_report(model.program, model.scope)


def test_masks_of_another_training_are_warned_of(tmp_path, caplog):
    net, pruner = trained()
    pruner.save(str(tmp_path / "masks"))
    paddle.static.save(net.program, str(tmp_path / "own"))
    saved(tmp_path / "model")
    words = {"out": str(tmp_path / "out"), "masks": str(tmp_path / "masks")}
    export_model(str(tmp_path / "model"), weights=str(tmp_path / "own.pdparams"), **words)
    assert "masks zero" not in caplog.text
    net.put(WEIGHTS[0], np.ones([4, 6]))
    paddle.static.save(net.program, str(tmp_path / "other"))
    export_model(str(tmp_path / "model"), weights=str(tmp_path / "other.pdparams"), **words)
    lost = int((~checkpoint.load(str(tmp_path / "masks"))["masks"][WEIGHTS[0]]).sum())
    assert f"masks: the masks zero {lost} weights that are not zero in the model, most of them in" in caplog.text


def test_masks_of_another_model_are_refused(tmp_path):
    saved(tmp_path / "model", lambda x: nn.Linear(4, 5)(x))
    _, pruner = trained()
    pruner.save(str(tmp_path / "masks"))
    with pytest.raises(ValueError, match="the masks do not fit the model: linear_0.w_0"):
        export_model(str(tmp_path / "model"), str(tmp_path / "out" / "model"), masks=str(tmp_path / "masks"))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_cannot_be_exported_and_the_error_says_what_can(tmp_path):
    net, _ = trained()
    paddle.static.save(net.program, str(tmp_path / "train"))
    with pytest.raises(ValueError, match="is a training checkpoint, and does not say what its outputs are"):
        export_model(str(tmp_path / "train"), str(tmp_path / "out" / "model"))


def test_batches_for_norms_are_read_from_a_file(tmp_path):
    net = saved(tmp_path / "model", normed, (6, 4))
    xs = np.stack([data(6, 4), data(6, 4) * 2])
    np.savez(tmp_path / "batches.npz", x=xs)
    export_model(str(tmp_path / "model"), str(tmp_path / "out" / "model"), recalibrate=str(tmp_path / "batches.npz"))
    model = written(tmp_path / "out" / "model")
    means = [(x @ net.get(WEIGHTS[0]) + net.get("linear_0.b_0")).mean(0) for x in xs]
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_1"), np.mean(means, 0), rtol=1e-4, atol=1e-6)
