# SPDX-License-Identifier: Apache-2.0
"""Bad input: each is a ValueError or TypeError that names argument and value, and nothing is changed by it."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, convnet, masks_in, two_linears

from paddle_unstructured import (
    Block,
    Constant,
    Element,
    Global,
    Polynomial,
    Threshold,
    Uniform,
    UnstructuredPruner,
    sparsity_report,
)

pytestmark = pytest.mark.usefixtures("static")

ONE_LAYER = {"select": lambda param: param.name == "linear_0.w_0"}


def refuses(net: Net, error: type[Exception], *parts: str, program=None, **arguments) -> None:
    """Construction fails, the message has all the parts, and Program and scope stay as they were."""
    before, ops = net.everything(), net.program.num_ops()
    with pytest.raises(error) as caught:
        UnstructuredPruner(net.program if program is None else program, **arguments)
    for part in parts:
        assert part in str(caught.value)
    assert net.program.num_ops() == ops and not masks_in(net.program)
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])
        assert net.scope.find_var(name + "_mask") is None


@pytest.fixture
def net(static) -> Net:
    return Net(two_linears, [3, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9))


VALUES = [
    ({"ratio": 1.5}, ValueError, "`ratio` must be a fraction of zeros in [0, 1]", "1.5"),
    ({"ratio": -0.5}, ValueError, "`ratio`", "-0.5"),
    ({"ratio": 55}, ValueError, "`ratio`", "55", "0.55 means 55 %"),
    ({"ratio": float("nan")}, ValueError, "`ratio`", "nan"),
    ({"ratio": "0.5"}, ValueError, "`ratio`", "'0.5'"),
    ({"ratio": None}, ValueError, "`ratio`", "None"),
    ({"ratio": True}, ValueError, "`ratio`", "True"),
    ({"mode": "threshold", "threshold": -0.01}, ValueError, "`threshold` must be", "-0.01"),
    ({"mode": "threshold", "threshold": float("nan")}, ValueError, "`threshold`", "nan"),
    ({"mode": "threshold", "threshold": "0.1"}, TypeError, "`threshold` must be a number", "'0.1'"),
    ({"mode": "threshold", "threshold": None}, TypeError, "`threshold`", "None"),
    ({"mode": "rate"}, ValueError, '`mode` must be "ratio" or "threshold"', "'rate'"),
    (
        {"prune_params_type": "conv3x3_only"},
        ValueError,
        '`prune_params_type` must be None or "conv1x1_only"',
        "'conv3x3_only'",
    ),
    ({"sparse_block": [2]}, ValueError, "`sparse_block` must be two ints [m, n]", "[2]"),
    ({"sparse_block": "21"}, ValueError, "`sparse_block`", "'21'"),
    ({"sparse_block": 2}, ValueError, "`sparse_block`", "2"),
    ({"sparse_block": [0, 1]}, ValueError, "`m` must be an int >= 1", "0"),
    ({"sparse_block": [2, 1.5]}, ValueError, "`n` must be an int >= 1", "1.5"),
    ({"skip_params_func": "linear_0.w_0"}, TypeError, "`skip_params_func` must be a function", "str"),
    ({"skip_params_func": lambda program: "linear_0.w_0"}, TypeError, "`skip_params_func` must return a set", "str"),
    ({"skip_params_func": lambda program: None}, TypeError, "`skip_params_func` must return a set", "NoneType"),
    ({"select": "all"}, TypeError, "`select` must be a function", "'all'"),
    (
        {"select": lambda param: None},
        TypeError,
        "`select` must answer True, False or (bool, reason)",
        "None",
        "linear_0.w_0",
    ),
    ({"criterion": "magnitude"}, TypeError, "`criterion` must be a function", "'magnitude'"),
    ({"pattern": 21}, TypeError, "`pattern` must be a pattern such as Block(2, 1)", "21"),
    ({"allocation": "global"}, TypeError, "`allocation` must be an allocation such as Global()", "'global'"),
    ({"schedule": 0.5}, TypeError, "`schedule` must be a function", "0.5"),
]


@pytest.mark.parametrize(
    "arguments, error, parts",
    [(v[0], v[1], v[2:]) for v in VALUES],
    ids=[f"{list(v[0])[-1]}={list(v[0].values())[-1]!r}".split(" at 0x")[0] for v in VALUES],
)
def test_a_bad_value_is_refused_by_name_and_value(net, arguments, error, parts):
    refuses(net, error, *parts, **arguments)


TWICE = [
    ({"ratio": 0.5}, {"schedule": Constant(0.5)}),
    ({"prune_params_type": "conv1x1_only"}, {"select": ONE_LAYER["select"]}),
    ({"sparse_block": [2, 1]}, {"pattern": Element()}),
    ({"local_sparsity": True}, {"allocation": Uniform()}),
    ({"mode": "threshold"}, {"allocation": Threshold(0.1)}),
]


@pytest.mark.parametrize("word, part", TWICE, ids=[list(word)[0] for word, _ in TWICE])
def test_a_word_and_its_part_together_are_refused(net, word, part):
    (name, value), (part_name, _) = *word.items(), *part.items()
    shown = (name, repr(value)) if name != "mode" else ('mode="threshold"',)
    refuses(net, ValueError, *shown, f"`{part_name}`", "give one of them", **word, **part)


def test_the_default_ratio_given_by_the_user_is_a_word_too(net):
    refuses(net, ValueError, "`ratio`", "0.55", "`schedule`", ratio=0.55, schedule=Constant(0.5))


def test_words_that_contradict_each_other_are_refused(net):
    refuses(net, ValueError, "`local_sparsity` has no meaning", mode="threshold", local_sparsity=True)
    refuses(net, ValueError, "contradict each other", "Threshold(value=0.1", mode="ratio", allocation=Threshold(0.1))
    refuses(net, ValueError, "`schedule` has no meaning with a threshold", mode="threshold", schedule=Constant(0.5))


def test_a_program_with_nothing_to_prune_is_refused_with_every_reason():
    norm = Net(lambda x: paddle.nn.LayerNorm([4])(x), [3, 4])
    refuses(norm, ValueError, "nothing to prune", "layer_norm_0.w_0", "the scale of a norm")


def test_a_selection_of_nothing_is_refused_with_every_reason(net):
    refuses(
        net,
        ValueError,
        "nothing to prune: none of the 4 params",
        "not a 1x1 conv2d of one group",
        prune_params_type="conv1x1_only",
    )


def test_a_program_without_params_is_refused():
    refuses(Net(lambda x: x * 2.0, [3, 4]), ValueError, "nothing to prune: none of the 0 params")


def test_a_pattern_that_makes_no_sense_for_a_param_is_refused_by_the_params_name():
    vector = Net(lambda x: x @ paddle.create_parameter([4], "float32", name="vector"), [3, 4])
    refuses(vector, ValueError, "Block needs an output and an input axis", "'vector'", pattern=Block(2, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.step(),
        lambda p: p.update_params(),
        lambda p: p.set_static_masks(),
        lambda p: p.update_threshold(),
        lambda p: p.summarize_weights(),
        lambda p: p.kept_magnitude_by_layer(),
        lambda p: p.load_state_dict(p.state_dict()),
    ],
)
def test_weights_without_a_value_are_refused_when_they_are_needed(static, call):
    program, scope = paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard("fresh."), paddle.static.program_guard(program, paddle.static.Program()):
        two_linears(paddle.static.data("x", [3, 4]))
        pruner = UnstructuredPruner(program, ratio=0.5, scope=scope)
    said = "2 of 2 params .* no value in the scope, .*linear_0.w_0.*run the startup Program .* give the `scope`"
    with pytest.raises(ValueError, match=said):
        call(pruner)
    assert (pruner.steps, pruner.sparsity()) == (0, 0.0)


@pytest.mark.parametrize("scope", ["global", 3])
def test_something_else_than_a_scope_is_refused(net, scope):
    refuses(net, TypeError, "`scope` must be a paddle.static.Scope", type(scope).__name__, scope=scope)


@pytest.mark.parametrize("program", ["program", 3, [], paddle.nn])
def test_something_else_than_a_program_is_refused(net, program):
    refuses(net, TypeError, "`program` must be a paddle.static.Program", type(program).__name__, program=program)


def test_a_legacy_program_is_refused_with_the_way_out(net):
    refuses(
        net,
        TypeError,
        "legacy Program",
        paddle.__version__,
        "FLAGS_enable_pir_api=0",
        program=paddle.base.framework.Program(),
    )


def test_a_place_that_is_no_place_is_refused(net):
    refuses(net, TypeError, "`place`", "toaster", place="toaster")


def test_dynamic_mode_is_refused_with_the_way_out(net):
    paddle.disable_static()
    try:
        with pytest.raises(ValueError, match="dynamic mode.*paddle.enable_static"):
            UnstructuredPruner(net.program)
    finally:
        paddle.enable_static()
    assert not masks_in(net.program)


# -- after construction


@pytest.mark.parametrize("ratio", [1.5, -0.5, None, "0.5", float("nan")])
def test_a_bad_ratio_is_not_assigned(net, ratio):
    pruner = UnstructuredPruner(net.program, ratio=0.25)
    with pytest.raises(ValueError, match="`ratio`"):
        pruner.ratio = ratio
    assert pruner.ratio == 0.25


def test_no_ratio_is_assigned_in_threshold_mode(net):
    pruner = UnstructuredPruner(net.program, mode="threshold")
    with pytest.raises(ValueError, match='cannot be assigned in mode "threshold"'):
        pruner.ratio = 0.5


def test_a_schedule_that_leaves_the_fractions_is_refused_at_its_step(net):
    pruner = UnstructuredPruner(net.program, schedule=lambda step: 0.5 * step)
    net.train(pruner, 3)
    with pytest.raises(ValueError, match=r"`schedule\(3\)` must be a fraction.*1.5"):
        pruner.step()
    assert (pruner.steps, net.zeros("linear_0.w_0", "linear_1.w_0")) == (3, 36)


@pytest.mark.parametrize("ratio", [1.5, -0.1, "0.1"])
def test_summarize_weights_refuses_a_bad_ratio(net, ratio):
    with pytest.raises(ValueError, match="`ratio`"):
        UnstructuredPruner(net.program).summarize_weights(net.program, ratio)


def test_a_shadow_is_tied_to_a_pruned_param_only(net):
    pruner = UnstructuredPruner(net.program)
    with pytest.raises(ValueError, match="`param` must name a pruned param, got 'linear_0.b_0'"):
        pruner.tie("linear_0.w_0", "linear_0.b_0")


@pytest.mark.parametrize("shadow, found", [("nobody", "does not have"), ("linear_1.w_0", r"shape \[6, 2\]")])
def test_a_shadow_is_a_variable_of_the_weights_shape(net, shadow, found):
    pruner = UnstructuredPruner(net.program)
    ops = net.program.num_ops()
    with pytest.raises(ValueError, match=rf"`shadow` must be .* shape \[4, 6\], got '{shadow}', .*{found}"):
        pruner.tie(shadow, "linear_0.w_0")
    assert net.program.num_ops() == ops


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.step(),
        lambda p: p.update_params(),
        lambda p: p.set_static_masks(),
        lambda p: p.summarize_weights(),
        lambda p: p.update_threshold(),
    ],
)
def test_a_weight_that_lost_its_value_is_named(net, call):
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.scope.erase(["linear_1.w_0"])
    with pytest.raises(ValueError, match="no value in the scope, linear_1.w_0"):
        call(pruner)
    assert pruner.steps == 0


@pytest.mark.parametrize(
    "ask", [UnstructuredPruner.total_sparse, UnstructuredPruner.total_sparse_conv1x1, sparsity_report]
)
def test_reports_refuse_what_is_no_program_and_a_scope_without_the_weights(ask):
    conv = Net(convnet, [2, 2, 4, 4])
    with pytest.raises(TypeError, match=r"`program` must be a paddle.static.Program, got str; of a saved model give"):
        ask("program")
    with pytest.raises(ValueError, match="no value in the scope"):
        ask(conv.program, paddle.static.Scope())


def test_a_floor_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="`floor` must be in"):
        Global(floor=3)


def test_a_ramp_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="`initial` must be <= `final`, got 0.9 > 0.5"):
        Polynomial(final=0.5, begin_step=0, end_step=1, initial=0.9)
