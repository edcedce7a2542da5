# SPDX-License-Identifier: Apache-2.0
"""What `prune` has pruned, `check` finds pruned."""

from __future__ import annotations

import paddle
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured.cli import main

pytestmark = pytest.mark.usefixtures("static")


def mobile(x):
    """Three colours and a depthwise convolution, which groups of four do not divide; and what they do."""
    x = nn.Conv2D(8, 8, 3, padding=1, groups=8)(nn.Conv2D(3, 8, 3, padding=1)(x))
    return nn.Linear(8, 5)(nn.Conv2D(8, 8, 1)(x).mean([2, 3]))


def language(x):
    """An embedding of 7 words that is the output layer too."""
    embedding = nn.Embedding(7, 8)
    return paddle.matmul(nn.Linear(8, 8)(embedding(x.cast("int64"))), embedding.weight, transpose_y=True)


@pytest.mark.parametrize("layers, shape", [(mobile, [2, 3, 6, 6]), (language, [2, 4])])
@pytest.mark.parametrize("pattern", ["2:4", "1x4"])
def test_check_counts_the_layers_that_prune_prunes(layers, shape, pattern, tmp_path, capsys):
    net, model, out = Net(layers, shape), str(tmp_path / "model"), str(tmp_path / "pruned")
    paddle.static.save_inference_model(model, [net.input], [net.output], net.exe, program=net.program)
    ratio = [] if ":" in pattern else ["--ratio", "0.5"]
    assert main(["prune", model, "--pattern", pattern, *ratio, "-o", out]) == 0
    assert main(["check", out, "--pattern", pattern, "--sparsity", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "all hold" in printed
    if layers is mobile:
        assert "not asked: " in printed and "of all weights" in printed
