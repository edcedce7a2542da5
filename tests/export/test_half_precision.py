# SPDX-License-Identifier: Apache-2.0
"""Models that compute in half precision, on a CPU that has no kernels for them: what can be done is done."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import paddle
import pytest
from nets import Net, convnet

from paddle_unstructured.export.export_saved import export_model
from paddle_unstructured.export.weight_only_int8 import quantize_weights
from paddle_unstructured.formats import pdiparams
from paddle_unstructured.runtime import create_predictor
from paddle_unstructured.saved_model import open_model, save_model

pytestmark = [pytest.mark.usefixtures("static"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def half(tmp_path) -> str:
    """convnet as float16 from end to end, as AMP O2 on a GPU leaves it; a CPU can only build it in float32."""
    net, path = Net(convnet, [2, 2, 4, 4], own_scope=True), str(tmp_path / "float32")
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(path, [net.input], [net.output], net.exe, program=net.program)
    text = Path(path + ".json").read_text().replace("0.t_f32", "0.t_f16")
    (tmp_path / "half.json").write_text(
        text.replace('{"#":"1.a_dtype","D":"float32"}', '{"#":"1.a_dtype","D":"float16"}')
    )
    with open(tmp_path / "half.pdiparams", "wb") as stream:
        for tensor in pdiparams.scan(path + ".pdiparams", path + ".json"):
            pdiparams.write(stream, "float16", pdiparams.read(path + ".pdiparams", tensor).astype("float16"))
    return str(tmp_path / "half")


def test_it_is_written_and_shrunk(half, tmp_path, caplog):
    model = open_model(half)
    weight = model.graph.stored("conv2d_1.w_0")
    weight[:, 1] = 0  # nobody reads the filter before it
    model.graph.store("conv2d_1.w_0", weight)
    with caplog.at_level(logging.WARNING):
        save_model(model, str(tmp_path / "pruned"))
    assert "computes in half precision, and paddle.inference cannot open it on this CPU (" in caplog.text
    removal = export_model(str(tmp_path / "pruned"), str(tmp_path / "small"), shrink=True).removal
    assert (removal.rows[0].layer, removal.rows[0].after) == ("conv2d_0.w_0", 3)
    kept = open_model(str(tmp_path / "small")).graph.stored("conv2d_1.w_0")
    assert kept.dtype == np.float16 and (kept == weight[:, [0, 2, 3]]).all()


def test_what_needs_its_outputs_says_why_there_are_none(half, tmp_path):
    said = "computes in half precision, which .*Place.* cannot do"
    with pytest.raises(ValueError, match=said):
        open_model(half).run(x=np.zeros([2, 2, 4, 4], "float16"))
    with pytest.raises(ValueError, match="no float32 weight to store as int8"):
        quantize_weights(open_model(half))
    with pytest.raises(ValueError, match="half.json with .* cannot be opened by paddle.inference on this CPU"):
        create_predictor(half)


def test_onnx_is_refused_with_the_same_words(half, tmp_path):
    pytest.importorskip("paddle2onnx")
    with pytest.raises(ValueError, match="computes in half precision, which .*Place.* cannot do"):
        export_model(half, str(tmp_path / "half.onnx"), to="onnx")
