# SPDX-License-Identifier: Apache-2.0
"""The page on nn.Layers runs as it stands, from its first block to its last, and leaves what it says."""

import numpy as np
import paddle
import pytest
from docs.pages import blocks

import paddle_unstructured as pu


class Digits(paddle.io.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        return rng.normal(size=[1, 28, 28]).astype("float32"), np.array([i % 10])


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # of Paddle's own Model.fit
def test_every_block_runs_after_the_one_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"loader": paddle.io.DataLoader(Digits(), batch_size=16), "dataset": Digits()}
    with paddle.utils.unique_name.guard():
        for block in blocks("docs/dygraph.md", "python"):
            exec(compile("\n" * block.line + block.code, "docs/dygraph.md", "exec"), names)
    model, pruner = names["model"], names["pruner"]
    assert abs(pruner.sparsity() - 0.75) < 1e-3
    zeros = sum(int((model.state_dict()[name] == 0).sum()) for name in pruner.masks)
    assert zeros == sum(pruner.pruned_by_layer().values())
    written = {file.name for file in tmp_path.iterdir()}
    assert written >= {"model.json", "model.pdiparams", "model.pdparams", "model.pdopt", "model.pruner"}
    assert issubclass(names["GMPUnstructuredPruner"], pu.UnstructuredPruner)
