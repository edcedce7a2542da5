# SPDX-License-Identifier: Apache-2.0
"""What lives and dies together, on hand-written weights and against slow loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import paddle
import pytest
from nets import Net, tensor
from paddle import nn

from paddle_unstructured import NM, Block, Element, Filter, Int8Block, Param, UnstructuredPruner, export, magnitude
from paddle_unstructured.compat.paddleslim import to_pattern
from paddle_unstructured.export.checks import check
from paddle_unstructured.graph import open_graph
from paddle_unstructured.patterns import parse_pattern
from paddle_unstructured.ranking.cut import cut


def conv(*shape: int) -> Param:
    return Param("conv", shape, "float32", "conv2d", "pd_op.conv2d", 0, 1)


def linear(*shape: int) -> Param:
    return Param("fc", shape, "float32", "linear", "pd_op.matmul", 1, 0)


def prune(weight, pattern, param: Param, total: int) -> list:
    """The mask that is left of one layer when `total` weights fall."""
    scores = pattern.units(magnitude(tensor(weight).reshape(param.shape)), param)
    alive = pattern.alive(tensor(np.ones(param.shape)), param)
    found = cut(
        [scores],
        [alive],
        [pattern.size(param)],
        total=tensor([total], "int64"),
        low=tensor([0], "int64"),
        high=tensor([param.size], "int64"),
    )
    return pattern.spread(found.keep[0], param).numpy().astype(int)


# -- by hand


def test_elements_fall_one_by_one():
    mask = prune([[4.0, -1.0], [0.5, 3.0]], Element(), linear(2, 2), 2)
    assert mask.tolist() == [[1, 0], [0, 1]]


def test_a_block_that_cancels_out_outlives_a_block_of_small_weights():
    """PaddleSlim scores |mean|, so that [5, -5] is worth 0."""
    mask = prune([[5.0], [-5.0], [0.1], [0.1]], Block(2, 1), conv(4, 1, 1, 1), 2)
    assert mask.reshape(4).tolist() == [1, 1, 0, 0]


def test_a_block_scores_the_root_of_the_sum_of_squares():
    units = Block(2, 1).units(tensor([3.0, 4.0, 0.0, 2.0]).reshape([4, 1, 1, 1]), conv(4, 1, 1, 1))
    assert units.flatten().tolist() == [5.0, 2.0]


@pytest.mark.parametrize("norm, scores", [("l1", [7.0, 2.0]), ("max", [4.0, 2.0])])
def test_other_norms_score_as_they_are_called(norm, scores):
    units = Block(2, 1, norm=norm).units(tensor([3.0, -4.0, 0.0, 2.0]).reshape([4, 1, 1, 1]), conv(4, 1, 1, 1))
    assert units.flatten().tolist() == scores


def test_blocks_of_two_by_one_join_neighbouring_outputs_of_a_conv():
    weight = [[9.0, 1.0], [9.0, 1.0], [2.0, 8.0], [2.0, 8.0]]
    assert prune(weight, Block(2, 1), conv(4, 2, 1, 1), 4).reshape(4, 2).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_blocks_of_two_by_one_join_neighbouring_outputs_of_a_linear_layer_too():
    """A linear weight is stored as [in, out]."""
    weight = [[9.0, 9.0, 1.0, 1.0], [2.0, 2.0, 8.0, 8.0]]
    assert prune(weight, Block(2, 1), linear(2, 4), 4).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_stored_blocks_of_two_by_one_join_neighbouring_inputs_of_a_linear_layer():
    weight = [[9.0, 1.0], [9.0, 1.0], [2.0, 8.0], [2.0, 8.0]]
    assert prune(weight, Block(2, 1, axes="stored"), linear(4, 2), 4).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_the_last_block_of_an_axis_that_does_not_divide_is_short():
    mask = prune([9.0, 9.0, 8.0, 8.0, 1.0], Block(2, 1), conv(5, 1, 1, 1), 1)
    assert mask.reshape(5).tolist() == [1, 1, 1, 1, 0]


def test_a_short_block_counts_only_the_weights_it_has():
    assert Block(2, 1).size(conv(5, 1, 1, 1)).tolist() == [2, 2, 1]


def test_full_blocks_count_as_one_number():
    assert Block(2, 2).size(conv(4, 6, 3, 3)) == 36
    assert Block(2, 2, kernel="position").size(conv(4, 6, 3, 3)) == 4


def test_a_block_larger_than_the_weight_is_the_whole_weight():
    assert prune([[1.0, 2.0]], Block(4, 4), conv(1, 2, 1, 1), 2).reshape(2).tolist() == [0, 0]


def test_a_block_spans_the_whole_kernel_window():
    weight = np.arange(1.0, 9.0).reshape(2, 1, 2, 2)
    assert prune(weight, Block(1, 1), conv(2, 1, 2, 2), 4).reshape(2, 4).tolist() == [[0] * 4, [1] * 4]


def test_kernel_positions_can_have_blocks_of_their_own():
    weight = [[9.0, 1.0], [9.0, 1.0]]  # [out, kw]
    mask = prune(weight, Block(2, 1, kernel="position"), conv(2, 1, 1, 2), 2)
    assert mask.reshape(2, 2).tolist() == [[1, 0], [1, 0]]


def test_a_block_of_one_weight_is_an_element():
    weight = np.random.default_rng(0).normal(size=(4, 4))
    found, expected = (prune(weight, pattern, linear(4, 4), 7) for pattern in (Block(1, 1), Element()))
    np.testing.assert_array_equal(found, expected)


def test_a_block_is_alive_while_one_of_its_weights_is():
    alive = Block(2, 1).alive(tensor([1, 0, 0, 0]).reshape([4, 1, 1, 1]), conv(4, 1, 1, 1))
    assert alive.flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("param", [conv(6, 8, 3, 3), conv(5, 6, 1, 1), conv(4, 9, 3, 2), linear(8, 6), linear(10, 5)])
def test_int8_blocks_are_the_groups_of_four_inputs_that_the_kernels_multiply_at_a_time(param, m):
    """Depth is (kernel row, kernel column, input channel filled up to groups of 4); m outputs share their groups."""
    weight = np.random.default_rng(2).normal(size=param.shape)
    mask = prune(weight, Int8Block(m), param, param.size // 2)
    np.testing.assert_array_equal(
        mask, prune(weight, Block(m, 4, kernel="position", narrow="skip"), param, param.size // 2)
    )
    taps = (
        mask.T
        if param.role == "linear"
        else mask.reshape(*mask.shape[:2], -1).transpose(0, 2, 1).reshape(-1, mask.shape[1])
    )  # [out, in] or [out * taps, in]
    filled = np.pad(taps, ((0, 0), (0, -taps.shape[1] % 4)), mode="edge")  # the last group of an axis may be short
    groups = filled.reshape(len(taps), -1, 4)
    assert (groups.min(2) == groups.max(2)).all() and 0 < groups.mean() < 1
    if m == 2:
        rows = groups[..., 0].reshape(param.shape[param.output_axis], -1)
        assert all((rows[i] == rows[i + 1]).all() for i in range(0, len(rows) - 1, 2))


def test_a_short_last_group_of_inputs_competes_with_its_own_norm():
    weight = [[1.0, 1.0, 1.0, 1.0, 3.0, 0.0]]  # norms 2 and 3
    mask = prune(weight, Block(1, 4, kernel="position"), conv(1, 6, 1, 1), 4)
    assert mask.reshape(6).tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "narrow, message",
    [
        (conv(8, 3, 3, 3), "8 x 3 weights are less than a block of 2 x 4"),  # the first layer of an image
        (conv(8, 1, 3, 3), "8 x 1 weights are less than a block of 2 x 4"),  # a depthwise convolution
        (linear(8, 1), "1 x 8 weights are less than a block of 2 x 4"),
    ],
)
def test_layers_narrower_than_a_block_can_be_left_dense(narrow, message):
    assert Block(2, 4, narrow="skip").check(narrow) == message
    assert Block(2, 4).check(narrow) is None  # short blocks by default
    assert Block(2, 4, narrow="skip").check(conv(8, 5, 3, 3)) is None


# -- against slow loops


def slow_scores(weight: np.ndarray, first: int, second: int, m: int, n: int, whole: bool) -> tuple[np.ndarray, dict]:
    """Every weight's block score, and the weights of each block, keyed by its place."""
    blocks: dict = {}
    for index in product(*map(range, weight.shape)):
        rest = () if whole else tuple(i for axis, i in enumerate(index) if axis not in (first, second))
        blocks.setdefault((index[first] // m, index[second] // n, rest), []).append(index)
    scores = np.zeros_like(weight)
    for members in blocks.values():
        for index in members:
            scores[index] = np.sqrt(sum(weight[i] ** 2 for i in members))
    return scores, blocks


@pytest.mark.parametrize(
    "shape, role",
    [
        ((6, 4), "linear"),
        ((5, 3), "linear"),
        ((4, 6, 2, 2), "conv"),
        ((5, 3, 1, 2), "conv"),
        ((7, 1, 3, 3), "conv"),
        ((3, 5, 2), "conv"),
    ],
)
@pytest.mark.parametrize("m, n", [(2, 1), (1, 4), (2, 2), (3, 2)])
@pytest.mark.parametrize("axes, kernel", [("output_input", "whole"), ("output_input", "position"), ("stored", "whole")])
def test_blocks_are_scored_and_spread_as_slow_loops_do(shape, role, m, n, axes, kernel):
    weight = np.random.default_rng(1).normal(size=shape)
    param = linear(*shape) if role == "linear" else conv(*shape)
    first, second = (0, 1) if axes == "stored" else (param.output_axis, param.input_axis)
    expected, blocks = slow_scores(weight, first, second, m, n, kernel == "whole")
    pattern = Block(m, n, axes=axes, kernel=kernel)
    units = pattern.units(tensor(np.abs(weight), "float64"), param)
    np.testing.assert_allclose(pattern.spread(units, param).numpy(), expected, rtol=1e-12)  # order of a sum
    sizes = np.broadcast_to(np.asarray(pattern.size(param)), units.flatten().shape)
    assert sorted(sizes.tolist()) == sorted(map(len, blocks.values()))


@pytest.mark.parametrize(
    "arguments, word", [((0, 1), "m"), ((1, -1), "n"), ((2.0, 1), "m"), ((True, 1), "m"), (("2", 1), "m")]
)
def test_a_block_of_no_extent_is_refused_by_name(arguments, word):
    with pytest.raises(ValueError, match=f"`{word}` must be an int >= 1"):
        Block(*arguments)


@pytest.mark.parametrize("word, value", [("axes", "rows"), ("norm", "mean"), ("kernel", "half"), ("narrow", "wide")])
def test_an_unknown_word_of_a_block_is_refused_with_those_it_knows(word, value):
    with pytest.raises(ValueError, match=f"`{word}` must be one of .*got '{value}'"):
        Block(2, 1, **{word: value})


def test_a_block_leaves_a_param_without_two_axes():
    vector = Param("v", (4,), "float32", "linear", "pd_op.mv", None, 0)
    for axes in ("output_input", "stored"):
        reason = Block(2, 1, axes=axes).check(vector)
        assert reason == "Block needs an output and an input axis, and 'v' has not both"


def test_a_filter_leaves_a_param_without_an_axis_of_its_own():
    vector = Param("v", (4,), "float32", "linear", "pd_op.mv", None, 0)
    assert Filter().check(vector) == "Filter needs an output axis of its own, and 'v' of 1 groups has none"
    assert Filter("input").check(vector) is None
    grouped = Param("g", (4, 1, 3, 3), "float32", "conv2d", "pd_op.conv2d", 0, 1, 4)
    assert Filter().check(grouped) is None
    assert Filter("input").check(grouped) == "Filter needs an input axis of its own, and 'g' of 4 groups has none"


@pytest.mark.parametrize(
    "text, pattern",
    [
        ("1x4", Int8Block()),
        ("2x4", Int8Block(outputs=2)),
        ("4x4", Int8Block(outputs=4)),
        ("2x1", Block(2, 1)),
        ("16x2", Block(16, 2, kernel="position", narrow="skip")),
        ("1x2", Block(1, 2)),
        ("2:4", NM(2, 4)),
    ],
)
def test_a_word_means_the_same_pattern_at_every_door(text, pattern):
    assert parse_pattern(text) == to_pattern(None, text) == pattern == export.parse_pattern(text)


@pytest.mark.parametrize(
    "text, way",
    [
        ("filter", r"leave it out for single weights; whole filters are Filter\(\) in Python"),
        ("", "leave it out for single weights"),
        ("1*4", 'write "1x4"'),
        ("1X4", 'write "1x4"'),
        ("2 by 1", 'write "2x1"'),
        ("2/4", 'write "2:4"'),
        ("2 of 4", 'write "2:4"'),
        ("4:2", 'write "2:4" to keep 2 of 4'),
    ],
)
def test_a_word_that_means_no_pattern_is_refused_with_the_one_that_may_be_meant(text, way):
    with pytest.raises(ValueError, match=f"^`pattern` must be .*, got '.*{way}"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["0:4", "4:4", "2:64"])
def test_as_many_are_kept_of_a_group_as_can_be(text):
    with pytest.raises(ValueError, match=f"^`pattern` must be kept:of, 1 <= kept < of <= 32, got '{text}'"):
        parse_pattern(text)


@pytest.mark.parametrize("outputs", [0, -1, 1.5, True, "1"])
def test_a_block_for_int8_has_outputs(outputs):
    with pytest.raises(ValueError, match="^`outputs` must be an int >= 1, got "):
        Int8Block(outputs)


def test_a_block_for_int8_leaves_narrow_layers_dense():
    assert Int8Block().check(conv(8, 3, 3, 3)) == "8 x 3 weights are less than a block of 1 x 4"
    assert Int8Block(4).check(conv(2, 8, 1, 1)) == "2 x 8 weights are less than a block of 4 x 4"
    assert Int8Block(2).check(conv(8, 4, 3, 3)) is Int8Block(2).check(linear(5, 2)) is None


# -- groups along the axis that products sum over


def built(layers, shape, dtype="float32"):
    """The verdicts of a 2:4 pruner, by shape."""
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        layers(paddle.static.data("x", shape, dtype))
    return {param.shape: NM(2, 4).check(param) for param in open_graph(program).params() if param.is_weight}


def weight(*shape: int):
    return paddle.create_parameter(list(shape), "float32")


def split_inputs(extents):
    def layers(x):
        return sum(x[:, : part.shape[0]] @ part for part in paddle.split(weight(sum(extents), 3), extents, axis=0))

    return layers


GROUPED = {
    "an embedding": (
        lambda x: nn.Embedding(7, 8)(x),
        "int64",
        (7, 8),
        "rows that are looked up, and nothing that multiplies them",
    ),
    "an embedding tied to the output": (
        lambda x: (lambda e: paddle.matmul(e(x), e.weight, transpose_y=True))(nn.Embedding(7, 8)),
        "int64",
        (7, 8),
        None,
    ),
    "a tied autoencoder": (
        lambda x: (lambda w: paddle.matmul(x @ w, w, transpose_y=True))(weight(8, 4)),
        "float32",
        (8, 4),
        "products that sum over different axes: pd_op.matmul over axis 0 and pd_op.matmul over axis 1",
    ),
    "three inputs": (
        lambda x: x[:, :3] @ weight(3, 4),
        "float32",
        (3, 4),
        "3 weights along its input axis, which groups of 4 do not divide",
    ),
    "fused outputs": (lambda x: [x @ part for part in paddle.split(weight(8, 6), 3, axis=1)], "float32", (8, 6), None),
    "inputs in fours": (split_inputs([4, 4]), "float32", (8, 3), None),
    "a seam inside a group": (
        split_inputs([6, 2]),
        "float32",
        (8, 3),
        "runs of 2 weights that one product sums over, which groups of 4 do not divide",
    ),
    "groups of a transposed convolution": (
        lambda x: nn.Conv2DTranspose(8, 4, 1, groups=4)(x.unsqueeze([2, 3])),
        "float32",
        (8, 1, 1, 1),
        "runs of 2 weights that one product sums over, which groups of 4 do not divide",
    ),
}


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("case", GROUPED)
def test_groups_run_along_the_axis_that_every_product_sums_over(case):
    layers, dtype, shape, reason = GROUPED[case]
    assert built(layers, [2, 8], dtype)[shape] == reason


@pytest.mark.usefixtures("static")
def test_groups_of_a_tied_embedding_lie_along_the_axis_of_the_product():
    net = Net(lambda x: (lambda e: e(x.cast("int64")) @ e.weight.t())(nn.Embedding(6, 8)), [2, 3])
    UnstructuredPruner(net.program, pattern="2:4").step()
    kept = (net.get("embedding_0.w_0") != 0).reshape(6, 2, 4)
    assert (kept.sum(-1) == 2).all()


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("pattern", ["2:4", "1x4", Block(2, 4), Block(2, 3, kernel="position"), Filter(), Block(3, 5)])
def test_every_pattern_prunes_a_conv3d(pattern):
    net = Net(lambda x: nn.Conv3D(4, 8, 3)(x), [2, 4, 3, 3, 3])
    pruner = UnstructuredPruner(net.program, ratio=0.5, pattern=pattern)
    pruner.step()
    assert 0.25 <= pruner.sparsity() <= 0.5 and net.zeros("conv3d_0.w_0") == round(pruner.sparsity() * 8 * 4 * 27)
    assert check(net.program, pattern=pruner.layers[0].pattern).holds


@pytest.mark.usefixtures("static")
def test_two_of_four_leaves_what_it_does_not_fit_dense_and_says_so(caplog):
    def rgb(x):
        x = nn.Conv2D(8, 8, 3, groups=8)(nn.Conv2D(3, 8, 1)(x))
        return nn.Linear(8, 2)(x.mean([2, 3]))

    net = Net(rgb, [2, 3, 5, 5])
    pruner = UnstructuredPruner(net.program, pattern="2:4")
    pruner.step()
    assert [p.name for p in pruner.params] == ["linear_0.w_0"] and net.zeros("linear_0.w_0") == 8
    assert "96 of 112 weights (85.7 %) do not fit the pattern and stay dense" in caplog.text
    found = check(net.program, pattern="2:4", sparsity=0.5)
    assert found.holds and "14.3% of all weights" in str(found)
    with pytest.raises(ValueError, match="3 weights along its input axis"):
        UnstructuredPruner(Net(rgb, [2, 3, 5, 5]).program, pattern=NM(2, 4, indivisible="error"))
