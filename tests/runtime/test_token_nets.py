# SPDX-License-Identifier: Apache-2.0
"""Whole nets over tokens, as `paddle.jit.save` writes them: with their masks, positions and open lengths."""

from __future__ import annotations

import numpy as np
import pytest
from runtime_nets import ISAS, relative_error

from benchmarks.architectures import Architecture, architectures
from benchmarks.architectures.saving import save
from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.options import Int8
from paddle_unstructured.runtime.int8.quantize import quantize
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.runtime.write_plan import emit
from paddle_unstructured.saved_model import in_inference_mode, open_model

pytestmark = pytest.mark.usefixtures("static")
NETS = {one.name: one for one in architectures()}
RANDOM = np.random.default_rng(0)


def saved(folder, name):
    one = NETS[name]
    save(one, str(folder / "net"), small=True, sparsity=0.8, block=4)
    return one, in_inference_mode(open_model(str(folder / "net")))


def samples(one: Architecture, batch: int, length: int = 0):
    """As the net takes them; tokens of any length, the last two of which are padding."""
    arrays = one.samples(RANDOM, batch, small=True)
    if one.inputs[0].below:
        arrays = [np.concatenate([array] * 3, 1)[:, :length] for array in arrays]
        arrays[0][:, -2:] = 0
    return arrays


@pytest.mark.parametrize("name", ["BERT-base", "GPT-small", "DeiT-tiny", "Swin-tiny", "LSTM tagger", "SVTR-LCNet"])
def test_a_net_over_tokens_runs_whole_at_any_length_and_batch(tmp_path, monkeypatch, name):
    one, model = saved(tmp_path, name)
    writer, _ = emit(read_net(model))
    for isa in ISAS:
        monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
        engine = Engine(writer.text, writer.arrays, threads=2)
        for batch, length in ((1, 9), (3, 20)):
            given = samples(one, batch, length)
            expected = model.run(**dict(zip(model.inputs, given)))
            for ours, theirs in zip(engine.run(*given), expected):
                assert relative_error(ours, theirs.astype("float64")) < 1e-5


@pytest.mark.parametrize("name", ["BERT-base", "GPT-small", "DeiT-tiny", "LSTM tagger"])
def test_its_linear_layers_run_in_int8(tmp_path, name):
    one, model = saved(tmp_path, name)
    net = read_net(model)
    data = dict(zip(model.inputs, samples(one, 16, 20)))
    writer, choices = quantize(net, Int8(data))
    assert sum(choice.kernel.startswith("int8") for choice in choices) > 4
    exact, _ = emit(net)
    given = samples(one, 2, 20)
    for ours, theirs in zip(*(Engine(each.text, each.arrays).run(*given) for each in (writer, exact))):
        cosine = (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum())
        assert cosine > 0.998
