# SPDX-License-Identifier: Apache-2.0
"""What channels pass on their way: layers of all kinds, additions, concatenation, splits, other ranks."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn
from shrunk_nets import Saved, counts, reasons, residual

pytestmark = pytest.mark.usefixtures("static")


def depthwise_block(x: Any) -> Any:
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    x = F.hardswish(nn.BatchNorm2D(16)(nn.Conv2D(8, 16, 3, groups=8, bias_attr=False)(x)))
    return nn.BatchNorm2D(4)(nn.Conv2D(16, 4, 1, bias_attr=False)(x))


def test_a_depthwise_convolution_passes_constants_on_and_follows(tmp_path):
    saved = Saved(depthwise_block, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_1.w_0": [2, 3, 15]})
    removal = saved.remove()
    # Channel 1 has both its depthwise outputs at zero, channel 7 only one of two.
    assert counts(removal) == {"conv2d_0.w_0": (8, 5), "conv2d_1.w_0": (16, 10), "conv2d_2.w_0": (4, 4)}
    assert reasons(removal) == {"conv2d_1.w_0": "1 stays: not constant where conv2d_2.w_0 reads them"}
    depthwise = next(op for op in saved.program.global_block().ops if op.name() == "pd_op.depthwise_conv2d")
    assert depthwise.attrs()["groups"] == 5 and saved.shapes()["conv2d_1.w_0"] == [10, 1, 3, 3]


def test_a_padded_depthwise_convolution_spreads_no_constant(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 3)(x))
        x = F.relu(nn.Conv2D(8, 8, 3, padding=1, groups=8)(x))
        return nn.Conv2D(8, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 1], "conv2d_0.b_0": [1]})
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 7)


def flattened(x: Any) -> Any:
    x = nn.MaxPool2D(2)(F.relu(nn.Conv2D(3, 8, 3)(x)))
    x = F.tanh(nn.Linear(8 * 3 * 3, 6)(x.flatten(1)))
    return F.softmax(nn.Linear(6, 4)(x))


def test_a_linear_layer_behind_flatten_loses_every_row_of_the_channel(tmp_path):
    saved = Saved(flattened, tmp_path, {"conv2d_0.w_0": [0, 2], "linear_0.w_0": np.s_[:, [1, 5]]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 6), "linear_0.w_0": (6, 4), "linear_1.w_0": (4, 4)}
    assert saved.shapes()["linear_0.w_0"] == [54, 4]


def test_shapes_with_the_number_of_channels_in_them_follow(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 3)(x)).reshape([2, 8, 36]).transpose([0, 2, 1])
        x = nn.Linear(8, 6)(x).reshape([2, 36, 6]).transpose([0, 2, 1]).reshape([2, 6, 6, 6])
        return nn.Linear(6 * 36, 4)(x.reshape([0, 6 * 36]))

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0], "linear_0.w_0": np.s_[:, [1, 5]]})
    # The oneDNN Predictor of Paddle 3.3.1 is wrong about convolution, reshape, transpose, matmul; before removal too.
    assert counts(saved.remove(onednn=False)) == {
        "conv2d_0.w_0": (8, 7),
        "linear_0.w_0": (6, 4),
        "linear_1.w_0": (4, 4),
    }


def test_members_of_an_addition_lose_the_same_channels(tmp_path):
    removal = Saved(residual, tmp_path, {f"conv2d_{i}.w_0": [0, 3] for i in (0, 2)}).remove()
    assert counts(removal) == {
        "conv2d_0.w_0": (8, 6),
        "conv2d_1.w_0": (8, 8),
        "conv2d_2.w_0": (8, 6),
        "conv2d_3.w_0": (4, 4),
    }
    assert reasons(removal) == {}


def test_a_channel_that_one_member_of_an_addition_still_has_stays_in_all(tmp_path):
    removal = Saved(
        residual, tmp_path, {"conv2d_0.w_0": [0, 1, 3], "conv2d_1.w_0": [6, 7], "conv2d_2.w_0": [3, 5]}
    ).remove()
    assert counts(removal) == {
        "conv2d_0.w_0": (8, 7),
        "conv2d_1.w_0": (8, 6),
        "conv2d_2.w_0": (8, 7),
        "conv2d_3.w_0": (4, 4),
    }
    assert reasons(removal) == {
        "conv2d_0.w_0": "2 stay: not constant where conv2d_3.w_0 reads them",
        "conv2d_2.w_0": "1 stays: not constant where conv2d_1.w_0 reads them",
    }


def test_concatenated_channels_go_one_by_one(tmp_path):
    def layers(x: Any) -> Any:
        joined = paddle.concat([F.relu(nn.Conv2D(3, 8, 1)(x)), x, F.relu(nn.Conv2D(3, 6, 1)(x))], axis=1)
        return nn.Conv2D(17, 4, 1)(nn.BatchNorm2D(17)(joined))

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [7], "conv2d_1.w_0": [0, 1], "conv2d_2.w_0": np.s_[:, [2, 9]]})
    removal = saved.remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (6, 4), "conv2d_2.w_0": (4, 4)}
    assert saved.shapes()["conv2d_2.w_0"] == [4, 13, 1, 1] and saved.shapes()["batch_norm2d_0.w_2"] == [13]


def test_parts_of_a_split_follow(tmp_path):
    def layers(x: Any) -> Any:
        a, b = paddle.split(nn.Conv2D(3, 8, 1)(x), [3, 5], 1)
        c, d = paddle.chunk(nn.Conv2D(8, 8, 1)(paddle.concat([b, a], 1)), 2, 1)
        return nn.Conv2D(4, 4, 1)(c * F.sigmoid(d))

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 6, 7], "conv2d_1.w_0": [0, 1, 4]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 5), "conv2d_1.w_0": (8, 6), "conv2d_2.w_0": (4, 4)}


def test_equal_parts_stay_equal(tmp_path):
    def layers(x: Any) -> Any:
        a, b = paddle.chunk(nn.Conv2D(3, 8, 1)(x), 2, 1)
        return nn.Conv2D(4, 4, 1)(a) + nn.Conv2D(4, 4, 3, padding=1)(b)

    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 1, 4], "conv2d_0.b_0": [4]}).remove()
    assert counts(removal)["conv2d_0.w_0"] == (8, 6)  # the first of both halves


def test_gates_follow_what_they_gate(tmp_path):
    def layers(x: Any) -> Any:
        x = F.hardswish(nn.Conv2D(3, 8, 1, bias_attr=False)(x))
        gate = F.relu(nn.Conv2D(8, 4, 1)(nn.AdaptiveAvgPool2D(1)(x)))
        x = x * F.hardsigmoid(nn.Conv2D(4, 8, 1)(gate))
        return nn.Conv2D(8, 4, 3, padding=1)(x)

    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [2, 4], "conv2d_1.w_0": [0]}).remove()
    assert counts(removal) == {
        "conv2d_0.w_0": (8, 6),
        "conv2d_1.w_0": (4, 3),
        "conv2d_2.w_0": (8, 6),
        "conv2d_3.w_0": (4, 4),
    }


def test_a_grouped_convolution_and_what_it_reads_are_left_alone(tmp_path):
    def layers(x: Any) -> Any:
        x = nn.Conv2D(3, 8, 1)(x)
        x = nn.Conv2D(8, 8, 1, groups=2)(x)
        return nn.Conv2D(8, 4, 1)(x)

    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_1.w_0": [0]}).remove()
    assert counts(removal) == {f"conv2d_{i}.w_0": (c, c) for i, c in enumerate((8, 8, 4))}
    assert reasons(removal) == {
        "conv2d_0.w_0": "2 stay: a grouped convolution reads its outputs",
        "conv2d_1.w_0": "it is a convolution in groups, whose inputs are not followed",
    }


def test_transposed_convolutions_are_followed_on_both_sides(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1, bias_attr=False)(x))
        x = F.relu(nn.Conv2DTranspose(8, 6, 2, stride=2)(x))
        return nn.Conv2D(6, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_transpose_0.w_0": np.s_[:, [1, 2]]})
    removal = saved.remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_transpose_0.w_0": (6, 4), "conv2d_1.w_0": (4, 4)}
    assert saved.shapes()["conv2d_transpose_0.w_0"] == [6, 4, 2, 2]


def test_a_transposed_convolution_takes_no_constant_into_its_bias(tmp_path):
    def layers(x: Any) -> Any:
        x = nn.Conv2D(3, 8, 1)(x)
        x = nn.Conv2DTranspose(8, 6, 3, stride=2)(x)
        return nn.Conv2D(6, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 3, 4], "conv2d_0.b_0": [4]})
    bias = saved.get("conv2d_transpose_0.b_0")
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 6)  # 4 is gone, 0 or 3 stands in for the other
    assert (saved.get("conv2d_transpose_0.b_0") == bias).all()


def test_other_layouts_and_ranks_are_followed(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 3, data_format="NHWC")(x.transpose([0, 2, 3, 1])))
        x = nn.BatchNorm2D(8, data_format="NHWC")(x).transpose([0, 3, 1, 2]).flatten(2)
        x = F.elu(nn.BatchNorm1D(6)(nn.Conv1D(8, 6, 3)(x)))
        return nn.Linear(6, 4)(F.gelu(nn.Linear(6, 6)(x.max(2))))

    removal = Saved(
        layers,
        tmp_path,
        {"conv2d_0.w_0": [0], "conv1d_0.w_0": [1, 2], "linear_1.w_0": np.s_[:, [0]], "linear_0.w_0": [3]},
    ).remove(onednn=False)  # which fails on NHWC convolutions
    assert [row.after for row in removal.rows if row.before in (6, 8)] == [7, 4, 4]


def test_what_is_not_followed_stays_with_the_reason(tmp_path):
    def layers(x: Any) -> Any:
        a, b, c, d = (nn.Conv2D(3, 4, 1)(x) for _ in range(4))
        e = paddle.reshape(nn.Conv2D(3, 4, 1)(x), [paddle.shape(x)[0], -1])
        ends = [nn.LayerNorm(8)(a), nn.GroupNorm(2, 4)(b), F.softmax(c, 1), d + paddle.concat([x, x[:, :1]], 1), e]
        return paddle.concat([end.flatten(1) for end in ends], 1)

    removal = Saved(layers, tmp_path, {f"conv2d_{i}.w_0": [1] for i in range(5)}).remove()
    assert [row.reason for row in removal.rows] == [
        f"1 stays: {why}"
        for why in (
            "its outputs reach pd_op.layer_norm",
            "its outputs reach pd_op.group_norm",
            "its outputs reach pd_op.softmax",
            "its outputs are added to other activations",
            "pd_op.reshape gives its outputs a shape that is computed",
        )
    ]


def test_what_a_branch_reads_stays(tmp_path):
    def layers(x: Any) -> Any:
        y = nn.Conv2D(3, 4, 1)(x)
        return paddle.static.nn.cond(x.mean() > 0, lambda: y * 2, lambda: y - 1)

    rows = Saved(layers, tmp_path, {"conv2d_0.w_0": [1, 2]}).remove(onednn=False).rows
    assert rows[0].after == 4 and rows[0].reason.startswith("2 stay: its outputs reach ")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_half_precision_are_followed_through_casts_and_keep_their_bits(tmp_path, dtype):
    def layers(x: Any) -> Any:
        weights = [
            paddle.create_parameter(shape, dtype, f"w{i}", default_initializer=nn.initializer.Constant(1.0))
            for i, shape in enumerate(([8, 3, 1, 1], [4, 8, 1, 1]))
        ]
        return F.conv2d(F.conv2d(x, weights[0].cast("float32")), weights[1].cast("float32"))

    def prune(net: Net) -> None:
        for name in ("w0", "w1"):
            values = np.random.default_rng(1).normal(size=net.get(name).shape).astype("float32")
            net.put(name, values if dtype == "float16" else values.view("uint32") >> 16)

    saved = Saved(layers, tmp_path, {"w0": [1, 2]}, prune=prune)
    weight = saved.get("w0")
    assert counts(saved.remove()) == {"w0": (8, 6), "w1": (4, 4)}
    assert (saved.get("w0") == weight[[0, *range(3, 8)]]).all() and saved.get("w0").dtype == weight.dtype


def test_a_fresh_process_loads_the_small_model(tmp_path):
    saved = Saved(residual, tmp_path, {f"conv2d_{i}.w_0": [0, 3] for i in (0, 2)})
    saved.remove()
    np.save(tmp_path / "x.npy", saved.data())
    code = (
        "import sys, numpy, paddle; paddle.enable_static(); exe = paddle.static.Executor(paddle.CPUPlace()); "
        "path, x, y = sys.argv[1:]; program, feeds, fetches = paddle.static.load_inference_model(path, exe); "
        "numpy.save(y, exe.run(program, feed={feeds[0]: numpy.load(x)}, fetch_list=fetches)[0])"
    )
    files = [str(tmp_path / name) for name in ("model_small", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *files], check=True, capture_output=True)
    saved.same([np.load(files[2])])


def test_three_dimensions_are_followed(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.BatchNorm3D(8)(nn.Conv3D(3, 8, 3, padding=1)(x.unsqueeze(4).tile([1, 1, 1, 1, 4]))))
        x = nn.Conv3D(8, 8, 3, padding=1, groups=8)(nn.MaxPool3D(2)(x))
        x = F.interpolate(F.pad(x, [1, 1, 0, 0, 0, 0], data_format="NCDHW"), scale_factor=2, data_format="NCDHW")
        x = nn.AdaptiveAvgPool3D(2)(nn.Conv3DTranspose(8, 6, 2, stride=2)(nn.InstanceNorm3D(8)(x)))
        return nn.Conv3D(6, 4, 1)(x)

    zeros = {"conv3d_0.w_0": [0, 4], "conv3d_0.b_0": [4], "conv3d_1.w_0": [0, 4], "conv3d_transpose_0.w_0": np.s_[:, 1]}
    zeros |= {"conv3d_1.b_0": [0, 4], "instance_norm3d_0.w_0": [0, 4], "instance_norm3d_0.b_0": [0, 4]}
    removal = Saved(layers, tmp_path, zeros).remove(onednn=False)
    assert counts(removal) == {
        "conv3d_0.w_0": (8, 6),
        "conv3d_1.w_0": (8, 6),
        "conv3d_transpose_0.w_0": (6, 5),
        "conv3d_2.w_0": (4, 4),
    }


def test_one_dimension_is_followed_through_pools_pads_and_transposed_layers(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.BatchNorm1D(8)(nn.Conv1D(3, 8, 3)(F.pad(x.flatten(2), [1, 1]))))
        x = nn.Conv1DTranspose(8, 6, 2, stride=2)(nn.AvgPool1D(2)(F.pad(x, [1, 1])))
        return nn.Linear(6, 4)(nn.AdaptiveMaxPool1D(1)(F.relu(x)).squeeze(2))

    zeros = {"conv1d_0.w_0": [0, 4], "batch_norm1d_0.w_0": [0, 4], "batch_norm1d_0.b_0": [0, 4]}
    removal = Saved(layers, tmp_path, {**zeros, "conv1d_transpose_0.w_0": np.s_[:, 1]}).remove()
    assert counts(removal) == {"conv1d_0.w_0": (8, 6), "conv1d_transpose_0.w_0": (6, 5), "linear_0.w_0": (4, 4)}


def test_a_depthwise_transposed_convolution_passes_zeros_on_and_follows(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1)(x))
        x = nn.Conv2DTranspose(8, 8, 2, stride=2, groups=8, bias_attr=False)(x)
        return nn.Conv2D(8, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 1], "conv2d_0.b_0": [1], "conv2d_transpose_0.w_0": [5]})
    assert counts(saved.remove())["conv2d_transpose_0.w_0"] == (8, 6)  # 1 and 5; 0 has another value at each border


def test_every_weight_has_a_row_and_what_is_not_followed_its_reason(tmp_path):
    def layers(x: Any) -> Any:
        rows = nn.Embedding(5, 6)(paddle.cast(x.mean([1, 2]) > 0, "int64"))
        rows, _ = nn.GRU(6, 6)(rows)
        return nn.Linear(6, 4)(nn.LayerNorm(6)(nn.Linear(6, 6)(rows)))  # the last is made first

    removal = Saved(layers, tmp_path, {"linear_1.w_0": np.s_[:, 2]}).remove()
    assert {row.layer: row.reason for row in removal.rows} == {
        "embedding_0.w_0": "pd_op.embedding reads it in a way that is not followed",
        "gru_cell_0.w_0": "pd_op.rnn reads it in a way that is not followed",
        "gru_cell_0.w_1": "pd_op.rnn reads it in a way that is not followed",
        "linear_1.w_0": "1 stays: its outputs reach pd_op.layer_norm",
        "linear_0.w_0": "",
    }


def test_layers_inside_a_branch_lose_channels_too(tmp_path):
    def layers(x: Any) -> Any:
        one, other = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 4, 1)
        x = nn.Conv2D(3, 3, 1)(x)
        return paddle.static.nn.cond(
            x.mean() > -1e9, lambda: other(F.relu(one(x))), lambda: x[:, :1].tile([1, 4, 1, 1])
        )

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 3], "conv2d_0.b_0": [0]})
    assert counts(saved.remove(onednn=False))["conv2d_0.w_0"] == (8, 6)


def test_pads_and_one_dimensional_layers_of_an_open_size_are_followed(tmp_path):
    def layers(x: Any) -> Any:
        x = F.pad(F.relu(nn.Conv2D(3, 8, 3)(x)), [1, 1, 1, 1])  # an axis more, a pad, an axis less
        x = F.relu(nn.Conv2D(8, 6, 3)(x)).max(3)
        return nn.Conv1D(6, 4, 3)(nn.MaxPool1D(2)(F.pad(x, [1, 1])))

    zeros = {"conv2d_0.w_0": [0, 3], "conv2d_0.b_0": [0, 3], "conv2d_1.w_0": [5], "conv2d_1.b_0": [5]}
    removal = Saved(layers, tmp_path, zeros, shape=(2, 3, -1, -1)).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (6, 5), "conv1d_0.w_0": (4, 4)}
