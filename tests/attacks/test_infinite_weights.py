# SPDX-License-Identifier: Apache-2.0
"""NaN and infinity among the weights: refused by the weight's name by all that ranks, moves or writes them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, convnet

from paddle_unstructured import export
from paddle_unstructured.channels.permute import permute_channels
from paddle_unstructured.sensitivity import sensitivity

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture(params=[float("inf"), float("-inf"), float("nan")], ids=str)
def net(request) -> Net:
    net = Net(convnet, [2, 2, 4, 4])
    flawed = next(param for param in net.program.global_block().all_parameters() if len(param.shape) == 4).name
    weight = net.get(flawed)
    weight.flat[3] = request.param
    net.put(flawed, weight)
    net.flawed = flawed
    return net


def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(net, tmp_path):
    before = net.everything()
    for call in (
        lambda: sensitivity(net.program, lambda: 1.0, sparsities=(0.5,)),
        lambda: permute_channels(net.program, m=2),
        lambda: export.export(net.program, [net.input], [net.output], tmp_path / "model"),
    ):
        with pytest.raises(ValueError, match=f"(NaN|infinit).*{net.flawed}|{net.flawed}.*(NaN|infinit)"):
            call()
    assert list(tmp_path.iterdir()) == []
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_saved_model_with_such_weights_is_refused_by_export_and_int8_and_kept_by_fp32(net, tmp_path):
    paddle.static.save_inference_model(str(tmp_path / "dense"), [net.input], [net.output], net.exe, program=net.program)
    with pytest.raises(ValueError, match=f"weights must be finite, but {net.flawed} has 1 of"):
        export.export_model(tmp_path / "dense", tmp_path / "out")
    with pytest.raises(ValueError, match=f"weights must be finite to be stored as int8, but {net.flawed} has 1"):
        export.quantize_weights(export.open_model(tmp_path / "dense"))
    for values in ("int8", "fp16"):
        with pytest.raises(ValueError, match="a weight with NaN or infinity"):
            export.compress(tmp_path / "dense", tmp_path / "out.bin", values=values)
    export.compress(tmp_path / "dense", tmp_path / "out.bin")
    kept = dict(export.read_compressed(tmp_path / "out.bin"))[net.flawed]
    np.testing.assert_array_equal(kept, net.get(net.flawed))
