# SPDX-License-Identifier: Apache-2.0
"""`export`: weights, masks and norms of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from command_lines import WEIGHTS, refused, zeros
from legacy_models import data

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")


def test_export_takes_weights_and_masks_of_a_training_run(model, run):
    with paddle.static.scope_guard(model.scope):
        pruner = UnstructuredPruner(model.program, ratio=0.5)
        model.train(pruner, 2)
        pruner.save("masks")
        paddle.static.save(model.program, "trained")
    code, out, err = run("export", "in", "--weights", "trained.pdparams", "--masks", "masks", "-o", "out/model")
    assert (code, err) == (0, "") and out.endswith("written: out/model.json, out/model.pdiparams\n")
    exported = open_model("out")
    for name in exported.param_names:
        np.testing.assert_array_equal(exported.graph.stored(name), model.get(name))
    assert zeros("out", *WEIGHTS) == 68


def test_export_measures_norms_anew(model, run):
    x = np.stack([data(2, 2, 4, 4), data(2, 2, 4, 4) * 3])
    np.savez("batches.npz", x=x)
    code, _, err = run("export", "in", "--recalibrate", "batches.npz", "-o", "out/model")
    assert (code, err) == (0, "")
    before, after = (open_model(path).graph.stored("batch_norm2d_0.w_1") for path in ("in", "out"))
    assert not before.any() and after.all()


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "at least one"),
        ({"x": np.zeros((0, 2, 2, 4, 4))}, "at least one"),
        ({"x": np.float32(1)}, "at least one"),
        ({"x": np.zeros((1, 2, 2, 4, 4)), "y": np.zeros((2, 1))}, "the same number of batches"),
        ({"y": np.zeros((1, 2, 2, 4, 4))}, "must give arrays for x, got y in batch 1"),
        ({"x": np.zeros((2, 2, 4, 4))}, r"must give x the shape \[2, 2, 4, 4\], got \[2, 4, 4\]"),
    ],
)
def test_export_refuses_batches_that_do_not_fit(model, run, arrays, message):
    np.savez("batches.npz", **arrays)
    refused(run("export", "in", "--recalibrate", "batches.npz", "-o", "out"), "export", message)
    assert not Path("out.json").exists()
