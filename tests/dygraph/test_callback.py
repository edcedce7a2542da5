# SPDX-License-Identifier: Apache-2.0
"""`paddle.Model.fit` with a callback: as many pruner steps as optimizer steps, records, files."""

import numpy as np
import paddle
import pytest
from layer_nets import made, zeros

import paddle_unstructured as pu
from paddle_unstructured.dygraph import PruningCallback

pytestmark = pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # of Paddle's own Model.fit


class Noise(paddle.io.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        return np.random.default_rng(i).normal(size=[4, 6, 6]).astype("float32"), np.array([i % 12])


class Writer:
    def __init__(self):
        self.tags = []

    def add_scalar(self, tag, value, step):
        self.tags.append((tag, step))


def fit(model, pruner, **how):
    high_level = paddle.Model(model)
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    high_level.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    accumulate = how.pop("accumulate", 1)
    callback = PruningCallback(pruner, **how)
    high_level.fit(Noise(), batch_size=2, epochs=2, verbose=0, callbacks=[callback], accumulate_grad_batches=accumulate)
    return optimizer


def test_fit_prunes_watches_records_and_saves(tmp_path):
    model, writer = made(), Writer()
    pruner = pu.UnstructuredPruner(model, schedule=pu.Polynomial(final=0.5, begin_step=0, end_step=8))
    optimizer = fit(model, pruner, log=pu.ScalarLog(pruner, writer, every=5), save_dir=tmp_path / "runs")
    assert pruner.steps == 10 and zeros(model) == 180
    optimizer.step()
    assert zeros(model) == 180  # watched
    assert [step for tag, step in writer.tags if tag == "pruning/sparsity"] == [5, 10]
    assert {file.name for file in (tmp_path / "runs").iterdir()} == {"0.pruner", "1.pruner", "final.pruner"}
    pu.UnstructuredPruner(made(), ratio=0.5).load(tmp_path / "runs" / "final.pruner")


def test_batches_that_only_add_to_gradients_are_no_steps():
    pruner = pu.UnstructuredPruner(model := made(), ratio=0.5)
    fit(model, pruner, accumulate=2)
    assert pruner.steps == 6  # of 5 batches an epoch: 2, 2 and the one that is left


def test_what_is_no_pruner_and_no_log_is_refused():
    with pytest.raises(TypeError, match="`pruner` must be a pruner of an nn.Layer"):
        PruningCallback("pruner")
    with pytest.raises(TypeError, match="`log` must be a ScalarLog or None"):
        PruningCallback(pu.UnstructuredPruner(made(), ratio=0.5), log=3)
    with pytest.raises(ValueError, match="`optimizer` must train parameters of the model"):
        fit(made(), pu.UnstructuredPruner(made(), ratio=0.5))
