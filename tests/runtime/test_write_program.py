# SPDX-License-Identifier: Apache-2.0
"""A converted model written without the operator is the one that Paddle writes with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from runtime_nets import save_net

from paddle_unstructured.runtime import Session, convert, create_predictor, operator
from paddle_unstructured.runtime.build import BuildError
from paddle_unstructured.runtime.int8.options import Int8

pytestmark = pytest.mark.usefixtures("static")


def image_net(x):
    x = F.relu(nn.Conv2D(3, 16, 3, 2, 1)(x))
    return nn.Linear(16, 5)(F.adaptive_avg_pool2d(F.relu(nn.Conv2D(16, 16, 1)(x)), 1).flatten(1))


def two_outputs(x):
    x = F.relu(nn.Conv2D(3, 8, 1)(x))
    return nn.Conv2D(8, 2, 1)(x), nn.Conv2D(8, 4, 3, padding=1)(x)


@pytest.fixture
def no_operator(monkeypatch):
    """As on a machine without a compiler."""

    def missing():
        raise BuildError("no compiler here")

    monkeypatch.setattr(operator, "register", missing)


def ops(path: str) -> list:
    """The ops of a Program, numbers replaced by what they stand for, in an order of their own."""
    found = json.loads(Path(path + ".json").read_text())["program"]["regions"][0]["blocks"][0]["ops"]
    results = [(op["#"], json.dumps(op["A"]), i, value) for op in found for i, value in enumerate(_results(op))]
    stands_for = {value["%"]: (kind, words, i) for kind, words, i, value in results}
    return sorted(
        (
            op["#"],
            json.dumps([op["A"], op["OA"], sorted(op)]),
            [stands_for[value["%"]] for value in op.get("I", [])],
            [json.dumps(value["TT"]) for value in _results(op)],
        )
        for op in found
    )


def _results(op):
    return op["O"] if isinstance(op["O"], list) else [op["O"]]


@pytest.mark.parametrize("layers", [image_net, two_outputs])
def test_it_is_what_paddle_writes(layers, tmp_path, request, caplog):
    dense = save_net(tmp_path, layers, [-1, 3, -1, -1], sparsity=0.5)
    convert(dense, str(tmp_path / "paddle"))
    assert "written for Session" not in caplog.text
    request.getfixturevalue("no_operator")
    convert(dense, str(tmp_path / "ours"))
    assert ops(str(tmp_path / "ours")) == ops(str(tmp_path / "paddle"))
    assert (tmp_path / "ours.pdiparams").read_bytes() == (tmp_path / "paddle.pdiparams").read_bytes()
    assert "written for Session, and not opened by Paddle: no compiler here" in caplog.text


def test_session_and_where_there_is_a_compiler_the_predictor_run_it(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype("float32")
    dense = save_net(tmp_path, image_net, [-1, 3, -1, -1])
    with monkeypatch.context() as patch:
        patch.setattr(operator, "register", lambda: (_ for _ in ()).throw(BuildError("no compiler here")))
        convert(dense, str(tmp_path / "int8"), int8=Int8(x))
    predictor = create_predictor(str(tmp_path / "int8"))
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    output = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    np.testing.assert_array_equal(output, Session(str(tmp_path / "int8")).run(x)[0])
