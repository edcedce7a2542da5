# SPDX-License-Identifier: Apache-2.0
"""int8 at the command line, and on nets of paddle.vision."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from int8_models import DATA
from int8_nets import saved
from runtime_nets import save_net

from paddle_unstructured.runtime import Int8, Session, convert
from paddle_unstructured.runtime.agreement import compare
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from paddle_unstructured.cli import main

    dense = saved(tmp_path / "in", "residual")
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=DATA.reshape(4, 16, 3, 16, 16))  # batches, as --recalibrate has them
    assert (
        main(
            [
                "accelerate",
                dense,
                "-o",
                "fast",
                "--int8",
                "--calibrate",
                "x.npz",
                "--calibration",
                "mse",
                "--skip",
                "conv2d_0.w_0",
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "fp32 dense" in text and "activations: mse; against float32" in text
    assert main(["benchmark", dense, "fast", "--rounds", "2", "--data", "x.npz"]) == 0
    assert "of 64 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        ("--int8", "--int8 needs --calibrate DATA"),
        ("--calibrate x.npy", "--calibrate has no meaning without --int8"),
        ("--int8 --calibrate missing.npy", "missing.npy"),
        ("--equalize", "--equalize has no meaning without --int8"),
    ],
)
def test_the_command_line_says_what_is_missing(tmp_path, capsys, words, message):
    from paddle_unstructured.cli import main

    assert main(["accelerate", saved(tmp_path, "mobile"), "-o", str(tmp_path / "fast"), *words.split()]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "fast.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "net",
    [
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "resnet18",
        "resnext50_32x4d",
        "densenet121",
        "googlenet",
        "shufflenet_v2_x0_25",
        "squeezenet1_1",
    ],
)
def test_nets_of_paddle_vision_run_in_bytes(tmp_path, net):
    def layers(x):
        made = getattr(paddle.vision.models, net)()
        made.eval()
        return made(x)

    size = 224 if net == "googlenet" else 64
    prefix = save_net(tmp_path, layers, [-1, 3, size, size], sparsity=0.5)
    coarse = np.random.default_rng(0).normal(size=(6, 3, 8, 8))
    data = np.kron(coarse, np.ones((size // 8, size // 8))).astype("float32")
    table = convert(prefix, str(tmp_path / "fast"), int8=Int8(data, calibration="mse"))
    assert table.converted or net.startswith("shufflenet"), table.refusal  # shuffled channels have no kernel
    if table.converted:
        expected = open_model(prefix).run(x=data)
        assert max(compare([a], [b]).mean for a, b in zip(expected, Session(str(tmp_path / "fast")).run(data))) < 0.1
