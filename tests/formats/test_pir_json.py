# SPDX-License-Identifier: Apache-2.0
"""Paddle's `.json` Programs without Paddle."""

import json

import pytest
from model_files import floats, write_model

from paddle_unstructured.formats import pdiparams, pir_json
from paddle_unstructured.runtime import Session


def test_ops_attributes_and_names_of_params_are_found(tmp_path):
    content = pir_json.read_program(write_model(tmp_path / "m", floats(a=[1, 2], b=[3])) + ".json")
    assert [pir_json.param_name(op) for op in pir_json.ops_of(content)] == ["a", "b"]
    assert pir_json.param_name({"#": "1.data"}) is None
    assert pir_json.attribute([{"N": "axis", "AT": {"D": 3}}], "axis") == 3
    assert pir_json.attribute([], "axis") is None


@pytest.mark.parametrize("text", ["", "[]", '{"program": {"regions": []}}', "[" * 100_000, '{"program":' * 20_000])
@pytest.mark.parametrize("read", [pir_json.read_program, pdiparams.declared, lambda file: Session(file)])
def test_what_is_no_program_is_refused_by_name_however_deep_it_is(tmp_path, text, read):
    file = tmp_path / "m.json"
    file.write_text(text)
    (tmp_path / "m.pdiparams").write_bytes(b"")
    with pytest.raises(ValueError, match=r"m\.json must be a Program as save_inference_model of Paddle 3 writes it"):
        read(str(file))


@pytest.mark.parametrize("op", ["p", {"#": "p"}, {"#": "p", "A": [0, 1, 1, "a"], "O": {"TT": {"D": [{"#": "?"}, []]}}}])
def test_an_op_that_does_not_say_what_it_must_is_refused(tmp_path, op):
    file = tmp_path / "m.json"
    file.write_text(json.dumps({"program": {"regions": [{"blocks": [{"ops": [op]}]}]}}))
    with pytest.raises(ValueError, match=r"m\.json must be a Program"):
        pdiparams.declared(str(file))
