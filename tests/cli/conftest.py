# SPDX-License-Identifier: Apache-2.0
"""A small model in the current folder, and a way to run commands in this process."""

from __future__ import annotations

import os

import paddle
import pytest
from nets import Net, convnet

from paddle_unstructured import cli


@pytest.fixture
def model(static, tmp_path, monkeypatch) -> Net:
    """convnet, dense: an inference model `in/model` and a checkpoint `train/model` in the current folder."""
    monkeypatch.chdir(tmp_path)
    net = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9), own_scope=True)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model("in/model", [net.input], [net.output], net.exe, program=net.program)
        os.mkdir("train")
        paddle.static.save(net.program, "train/model")
    return net


@pytest.fixture
def run(capsys):
    """Run one command in this process: its exit code, stdout and stderr."""

    def one(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main(list(words))
        except SystemExit as stopped:  # argparse
            code = stopped.code
        found = capsys.readouterr()
        return code, found.out, found.err

    return one
