# SPDX-License-Identifier: Apache-2.0
"""Rules: which layer is pruned how, later ones first."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net

from paddle_unstructured import NM, Element, PerLayer, Random, UnstructuredPruner
from paddle_unstructured.compat.config_list import choices
from paddle_unstructured.graph import Param

pytestmark = pytest.mark.usefixtures("static")
CONV = Param("conv2d_0.w_0", (8, 4, 3, 3), "float32", "conv2d", "pd_op.conv2d", 0, 1)
FIRST, HEAD = (Param(f"{name}.w_0", (8, 8), "float32", "linear", "pd_op.matmul", 1, 0) for name in ("fc_0", "head"))
ALL = [CONV, FIRST, HEAD]


def sparsities(rules):
    return {name.split(".")[0]: choice.sparsity for name, choice in choices(rules, ALL).items()}


def test_later_rules_override_and_exclude():
    rules = [
        {"sparsity": 0.8, "op_types": ["conv2d"]},
        {"sparsity": 0.6, "op_names": ["fc_*"]},
        {"exclude": True, "op_names": ["head.*"]},
    ]
    assert sparsities(rules) == {"conv2d_0": 0.8, "fc_0": 0.6}
    assert sparsities([{"sparsity": 0.8}, {"sparsity": 0.5, "op_types": ["linear"]}]) == {
        "conv2d_0": 0.8,
        "fc_0": 0.5,
        "head": 0.5,
    }
    assert sparsities([{"exclude": True}, {"sparsity": 0.5, "op_names": ["head"]}]) == {"head": 0.5}


def test_a_rule_may_say_pattern_and_criterion():
    found = choices(
        [{"pattern": "2:4"}, {"sparsity": 0.5, "pattern": Element(), "criterion": Random(), "op_names": ["conv2d_0"]}],
        ALL,
    )
    assert found["head.w_0"].pattern == NM(2, 4) and found["head.w_0"].sparsity == 0.5
    assert found["conv2d_0.w_0"].pattern == Element() and found["conv2d_0.w_0"].criterion == Random()


@pytest.mark.parametrize(
    "rules, message",
    [
        ([], "list of dicts"),
        ([{"sparsty": 0.5}], "unknown keys sparsty"),
        ([{"sparsity": 2}], r"rules\[0\]"),
        ([{"sparsity": 0.5, "op_names": ["nothing*"]}], "fits none"),
        ([{"op_types": ["Conv2D"]}], "op_types"),
        ([{"op_names": "fc_*"}], "must be a list"),
        ([{"pattern": Element()}], "no sparsity for conv2d_0"),
    ],
)
def test_a_senseless_rule_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        choices(rules, ALL)


def test_rules_come_from_a_yaml_file_too(tmp_path):
    text = "- {sparsity: 0.8, op_types: [conv2d]}\n- {pattern: '2:4', op_names: [fc_*]}\n"
    (tmp_path / "rules.yaml").write_text(text)
    assert sparsities(tmp_path / "rules.yaml") == {"conv2d_0": 0.8, "fc_0": 0.5}


def net():
    return Net(
        lambda x: paddle.nn.Linear(6, 4)(paddle.nn.Linear(8, 6)(x)), [2, 8], lambda: paddle.optimizer.Momentum(0.1)
    )


def test_layers_are_pruned_as_the_rules_say():
    built = net()
    pruner = UnstructuredPruner(
        built.program,
        rules=[
            {"sparsity": 0.75},
            {"pattern": NM(2, 4, indivisible="skip")},
            {"sparsity": 0.5, "op_names": ["linear_1"]},
        ],
    )
    built.train(pruner, 2)
    # Linear(6, 4) is made first; 4 does not divide its 6 inputs.
    assert pruner.masks == {"linear_1.w_0": "linear_1.w_0_mask"}
    assert ((built.get("linear_1.w_0") != 0).T.reshape(-1, 4).sum(1) == 2).all()


def test_rules_stand_alone():
    with pytest.raises(ValueError, match="`rules`.*`pattern`"):
        UnstructuredPruner(net().program, rules=[{"sparsity": 0.5}], pattern="2:4")


def test_found_sparsities_go_out_to_yaml_and_come_back_edited(tmp_path):
    first = net()
    pruner = UnstructuredPruner(first.program, ratio=0.5)
    first.train(pruner)
    pruner.allocation_to_yaml(tmp_path / "layers.yaml")
    text = (tmp_path / "layers.yaml").read_text()
    found = PerLayer.from_yaml(tmp_path / "layers.yaml").sparsities
    zeros = {p.name: first.zeros(p.name) for p in pruner.params}
    again = net()
    second = UnstructuredPruner(again.program, allocation=PerLayer(found))
    again.train(second)
    assert {p.name: again.zeros(p.name) for p in second.params} == zeros
    (tmp_path / "layers.yaml").write_text(text.replace(f"linear_0.w_0: {found['linear_0.w_0']}", "linear_0.w_0: 0.25"))
    assert PerLayer.from_yaml(tmp_path / "layers.yaml").sparsities["linear_0.w_0"] == 0.25


def test_a_dense_checkpoint_goes_in_after_the_pruner_was_made(tmp_path):
    dense, built = net(), None
    paddle.static.save(dense.program, str(tmp_path / "dense"))
    wanted = {name: dense.get(name) for name in ("linear_0.w_0", "linear_1.w_0", "linear_0.b_0")}
    built = net()
    pruner = UnstructuredPruner(built.program, ratio=0.5)
    built.train(pruner, 3)
    pruner.load_weights(str(tmp_path / "dense"))
    for name, value in wanted.items():
        mask = built.get(name + "_mask") if name.endswith("w_0") else 1
        assert (built.get(name) == value * mask).all()
    other = Net(lambda x: paddle.nn.Linear(8, 3)(x), [2, 8])
    paddle.static.save(other.program, str(tmp_path / "other"))
    before = built.everything()
    with pytest.raises(ValueError, match="linear_0.w_0"):
        pruner.load_weights(str(tmp_path / "other"))
    assert all(np.array_equal(value, built.get(name)) for name, value in before.items())
