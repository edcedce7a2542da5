# SPDX-License-Identifier: Apache-2.0
"""Conversion to bfloat16: what runs where, outputs, parts, the command line."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from int8_nets import NETS, SHAPE, images, saved
from runtime_nets import save_net

from paddle_unstructured.cli import main
from paddle_unstructured.runtime import Bf16, Int8, Session, convert
from paddle_unstructured.runtime.agreement import compare
from paddle_unstructured.runtime.bf16.choose_kernel import float_layers
from paddle_unstructured.runtime.bf16.write_plan import emit
from paddle_unstructured.runtime.border import image
from paddle_unstructured.runtime.net import Layer, Net, Output, input_layer
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


def kinds(prefix):
    writer, _ = emit(read_net(open_model(prefix)))
    return [line.split()[0] for line in writer.text.splitlines()[1:]]


@pytest.mark.parametrize("net", NETS)
def test_outputs_are_close_to_those_in_float32(tmp_path, net):
    prefix, x = saved(tmp_path, net, sparsity=0.5), images(16, seed=1)
    table = convert(prefix, str(tmp_path / "fast"), bf16=Bf16())
    assert table.converted and "bfloat16 against float32, on random inputs" in str(table)
    found = compare(open_model(prefix).run(x=x), Session(str(tmp_path / "fast")).run(x))
    assert 0 < found.mean < 0.02, str(found)


def test_between_convolutions_numbers_stay_in_bfloat16(tmp_path):
    """Both sums are fused; what is behind the last layer is in float32."""
    found = kinds(saved(tmp_path, "residual"))
    assert found.count("bf16.conv") == 6 and found.count("bf16.pool") == 1 and "add" not in found
    assert found.count("bf16.round") == 1  # of the image
    assert found.count("bf16.widen") == 0 and found[-3:] == ["global_pool", "conv", "output"]


def test_filters_per_channel_and_maxima_are_rounded_where_they_touch_a_convolution_that_is(tmp_path):
    def layers(x):
        x = F.relu(nn.Conv2D(4, 4, 3, padding=1, groups=4)(F.max_pool2d(x, 2)))  # before it
        return nn.Conv2D(16, 16, 3, groups=16)(F.relu(nn.Conv2D(4, 16, 1)(x)))  # and behind it

    def wide(x):
        return F.relu(nn.Conv2D(4, 4, 7, padding=3, groups=4)(nn.Conv2D(4, 4, 1)(x)))

    def alone(x):
        return F.max_pool2d(F.relu(nn.Conv2D(4, 4, 3, padding=1, groups=4)(F.sigmoid(x))), 2) * 0.5

    shape = [-1, 4, 8, 8]
    found = kinds(save_net(tmp_path / "a", layers, shape, sparsity=0.0))
    assert found[2:] == [
        "bf16.round",
        "bf16.pool",
        "bf16.depthwise",
        "bf16.conv",
        "bf16.depthwise",
        "bf16.widen",
        "output",
    ]
    assert kinds(save_net(tmp_path / "c", wide, shape, sparsity=0.0))[-2:] == ["depthwise", "output"]
    assert not [kind for kind in kinds(save_net(tmp_path / "b", alone, shape, sparsity=0.0)) if "bf16" in kind]


@pytest.mark.parametrize("net", NETS)
def test_a_sample_with_a_nan_gives_nan_and_the_others_what_they_gave(tmp_path, net):
    """As in float32, where an infinity gives what it gives."""
    prefix, x = saved(tmp_path, net), images(3)
    convert(prefix, str(tmp_path / "fast"), bf16=Bf16())
    session = Session(str(tmp_path / "fast"))
    (want,) = session.run(x)
    x[1, 0, 5, 5] = np.nan
    (got,) = session.run(x)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], want[[0, 2]])


def test_large_linear_layers_are_rounded_too(tmp_path):
    def layers(x):
        return nn.Linear(64, 10)(F.relu(nn.Linear(4096, 64)(x.flatten(1))))

    prefix, x = save_net(tmp_path, layers, [-1, 16, 16, 16], sparsity=0.0), images(4)[:, :1].repeat(16, 1)
    choices = convert(prefix, str(tmp_path / "fast"), bf16=Bf16()).choices
    assert [choice.kernel for choice in choices] == ["bf16 dense", "fp32 dense"]
    runs = [Session(str(tmp_path / "fast"), threads=threads).run(x)[0] for threads in (1, 3)]
    np.testing.assert_array_equal(*runs)
    assert compare(open_model(prefix).run(x=x), runs[:1]).mean < 0.02


def test_every_processor_returns_the_same(tmp_path, monkeypatch):
    prefix, x = save_net(tmp_path, NETS["residual"], SHAPE, sparsity=0.75, block=16), images(2)
    convert(prefix, str(tmp_path / "fast"), bf16=Bf16())
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", "portable")  # of the layers in float32
    made = set()
    for isa in ("", "portable"):
        monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", isa)
        made.add(Session(str(tmp_path / "fast")).run(x)[0].tobytes())
    assert len(made) == 1


def layers_in_blocks(x):
    return nn.Conv2D(32, 32, 1)(F.relu(nn.Conv2D(16, 32, 3, padding=1)(x)))


@pytest.mark.parametrize("block, kernel", [(16, "bf16 sparse 16x2"), (1, "bf16 dense")])
def test_what_is_not_in_blocks_is_dense(tmp_path, block, kernel):
    """As 16x1 blocks that lie at random 16x2 ones are: both of a pair must be zero."""
    prefix = save_net(tmp_path, layers_in_blocks, [-1, 16, 8, 8], sparsity=0.75, block=block)
    choices = convert(prefix, str(tmp_path / "fast"), bf16=Bf16()).choices
    assert [choice.kernel for choice in choices] == [kernel] * 2
    assert all("of the 16x2 blocks" in choice.why for choice in choices)


def test_very_sparse_layers_that_are_not_in_blocks_stay_in_float32(tmp_path):
    prefix = save_net(tmp_path, layers_in_blocks, [-1, 16, 8, 8], sparsity=0.95)
    choices = convert(prefix, str(tmp_path / "fast"), bf16=Bf16()).choices
    assert [choice.kernel for choice in choices] == ["fp32 sparse"] * 2
    assert all("its zeros leave" in choice.why for choice in choices)


@pytest.mark.parametrize("inputs, sparsity, stays", [(64, 0.85, False), (2048, 0.85, True), (2048, 0.7, False)])
def test_of_large_layers_fewer_zeros_at_random_are_enough_to_stay_in_float32(inputs, sparsity, stays):
    random = np.random.default_rng(0)
    weight = random.normal(size=(512, inputs, 1, 1)) * (random.random((512, inputs, 1, 1)) >= sparsity)
    layer = Layer("conv", (input_layer(image(inputs)),), weight=weight, bias=np.zeros(512))
    assert (layer in float_layers(Net([layer.inputs[0]], [Output(layer)]))) == stays


def test_what_stays_in_float32_says_why(tmp_path):
    choices = convert(saved(tmp_path, "mobile"), str(tmp_path / "fast"), bf16=Bf16()).choices
    found = {(choice.kernel, choice.why.rpartition("in float32: ")[2]) for choice in choices if "fp32" in choice.kernel}
    assert ("fp32 depthwise", "no bfloat16 kernel for its activation") in found
    assert ("fp32 dense", "a tile of one pixel is mostly empty") in found


def test_the_error_is_told_on_given_data(tmp_path):
    prefix = saved(tmp_path, "residual")
    np.save(tmp_path / "x.npy", images(5))
    table = convert(prefix, str(tmp_path / "fast"), bf16=Bf16(str(tmp_path / "x.npy")))
    assert "on the data: same first answer" in table.note and "of 5 samples" in table.note
    with pytest.raises(ValueError, match="must fit the input"):
        convert(prefix, str(tmp_path / "fast"), bf16=Bf16(np.zeros((2, 4, 16, 16), "float32")))


def test_not_together_with_int8(tmp_path):
    prefix = saved(tmp_path, "residual")
    with pytest.raises(ValueError, match="`bf16` must be left out with `int8`"):
        convert(prefix, str(tmp_path / "fast"), int8=Int8(images(4)), bf16=Bf16())
    with pytest.raises(TypeError, match="`bf16` must be None or"):
        convert(prefix, str(tmp_path / "fast"), bf16=True)
    assert not (tmp_path / "fast.json").exists()


def test_parts_of_a_model_are_rounded_too(tmp_path):
    def layers(x):
        x = F.relu(nn.Conv2D(3, 32, 3, padding=1)(x))
        x = paddle.cumprod(x * 0.5, 1)  # which no kernel covers
        return nn.Conv2D(32, 32, 3)(x)

    prefix, x = save_net(tmp_path, layers, SHAPE, sparsity=0.0), images(4)
    table = convert(prefix, str(tmp_path / "fast"), bf16=Bf16())
    assert table.parts and "part 1: bfloat16 against float32" in table.note
    assert {choice.kernel for choice in table.choices} == {"bf16 dense"}
    model = open_model(str(tmp_path / "fast"))
    assert compare(open_model(prefix).run(x=x), model.run(x=x)).mean < 0.02


def test_the_command_line(tmp_path, capsys):
    dense, fast = saved(tmp_path / "in", "residual"), str(tmp_path / "fast")
    np.save(tmp_path / "x.npy", images(8))
    assert main(["accelerate", dense, "-o", fast, "--bf16"]) == 0
    assert "on random inputs" in capsys.readouterr().out
    assert main(["accelerate", dense, "-o", fast, "--bf16", "--calibrate", str(tmp_path / "x.npy")]) == 0
    assert "on the data" in capsys.readouterr().out
    words = ["--prune", "0.5", "--pattern", "16x2", "--calibrate", str(tmp_path / "x.npy")]
    assert main(["accelerate", dense, "-o", fast, "--bf16", *words]) == 0
    assert "bf16 sparse 16x2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        ("--bf16 --int8 --calibrate x.npy", "--bf16 has no meaning with --int8"),
        ("--bf16 --speedup 2 --calibrate x.npy", "--bf16 has no meaning with --target-ms or --speedup"),
        ("--bf16 --equalize", "--equalize has no meaning without --int8"),
        ("--bf16 --calibrate x.ranges.json", "--calibrate takes one file or folder of data with --bf16"),
        ("--bf16 --calibrate missing.npy", "missing.npy"),
    ],
)
def test_the_command_line_refuses_by_name(tmp_path, capsys, words, message):
    assert main(["accelerate", saved(tmp_path, "residual"), "-o", str(tmp_path / "fast"), *words.split()]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "fast.json").exists()
