# SPDX-License-Identifier: Apache-2.0
"""Any criterion x any pattern x any allocation x any schedule: the masks are those of a slow and obvious loop."""

from __future__ import annotations

import itertools

import numpy as np
import paddle
import pytest
from nets import Net

from paddle_unstructured import (
    ERK,
    LAMP,
    NM,
    Block,
    Constant,
    Element,
    Filter,
    GeometricMedian,
    Global,
    PerLayer,
    Polynomial,
    Random,
    Threshold,
    Uniform,
    UnstructuredPruner,
    normalized_magnitude,
)

pytestmark = pytest.mark.usefixtures("static")


def layers(x):
    x = paddle.nn.functional.relu(paddle.nn.Conv2D(4, 6, 3)(x))
    x = paddle.nn.functional.relu(paddle.nn.Conv2D(6, 8, 1)(x)).mean([2, 3])
    return paddle.nn.Linear(8, 12)(x)


# -- the reference: units as lists of (score, [indices of weights])


def boxes(shape, extents):
    """Index arrays of the boxes that tile a shape, in stored order."""
    flat = np.arange(np.prod(shape)).reshape(shape)
    starts = itertools.product(*(range(0, whole, extent) for whole, extent in zip(shape, extents)))
    return [flat[tuple(slice(a, a + e) for a, e in zip(start, extents))].reshape(-1) for start in starts]


def units_of(pattern, param, scores):
    flat = scores.reshape(-1)
    if isinstance(pattern, NM):
        axis = param.input_axis
        rows = np.moveaxis(np.arange(flat.size).reshape(param.shape), axis, -1).reshape(-1, pattern.m)
        kept = {i for row in rows for i in row[np.argsort(flat[row], kind="stable")[pattern.m - pattern.n :]]}
        return [(flat[i] if i not in kept else np.inf, [i]) for i in range(flat.size)]
    if isinstance(pattern, Element):
        return [(flat[i], [i]) for i in range(flat.size)]
    if isinstance(pattern, Filter):
        axis = param.output_axis if pattern.axis == "output" else param.input_axis
        extents = [1 if i == axis else whole for i, whole in enumerate(param.shape)]
    else:
        extents = [1 if pattern.kernel == "position" else whole for whole in param.shape]
        first, second = (0, 1) if pattern.axes == "stored" else (param.output_axis, param.input_axis)
        extents[first], extents[second] = pattern.m, pattern.n
    norm = {"l2": lambda s: np.sqrt((s * s).sum()), "l1": lambda s: np.abs(s).sum(), "max": lambda s: np.abs(s).max()}
    return [(norm[pattern.norm](flat[box]), list(box)) for box in boxes(param.shape, extents)]


def lamp(units):
    return [(u * u / sum(v * v for v, _ in units if u <= v < np.inf) if u < np.inf else u, box) for u, box in units]


def slow_masks(params, patterns, scores, allocation, sparsity):
    layers_units = [units_of(pattern, p, scores[p.name].astype("float64")) for p, pattern in zip(params, patterns)]
    masks = [np.ones(p.size, bool) for p in params]
    if isinstance(allocation, Threshold):
        for units, mask in zip(layers_units, masks):
            for score, box in units:
                mask[box] = score >= allocation.value
        return masks
    budget = allocation.budget(params, sparsity, [pattern.limit(p) for p, pattern in zip(params, patterns)])
    if isinstance(allocation, LAMP):
        layers_units = [lamp(units) for units in layers_units]
    order = sorted(
        ((score, i, box) for i, units in enumerate(layers_units) for score, box in units), key=lambda unit: unit[0]
    )
    low, high = budget.low.copy(), budget.high.copy()
    for i, units in enumerate(layers_units):  # bounds in whole units, where all units of a layer are alike
        size = {len(box) for _, box in units}
        if len(size) == 1:
            high[i] -= high[i] % min(size)
            low[i] = min(-(-low[i] // min(size)) * min(size), high[i])
    pruned = np.zeros(len(params), int)

    charged = low.copy()  # a layer whose units do not fit its bound exactly is charged the whole bound

    def fall(limit, total):
        """Lowest first, until the total is reached; a layer is done when its next unit does not fit."""
        done = set()
        for _, i, box in order:
            if not masks[i][box[0]] or i in done:
                continue
            if pruned[i] + len(box) > limit[i]:
                done.add(i)
                charged[i] = limit[i]
            elif charged.sum() - charged[i] + max(pruned[i] + len(box), low[i]) > total:
                break
            else:
                masks[i][box] = False
                pruned[i] += len(box)
                charged[i] = max(pruned[i], low[i])

    fall(low, np.inf)  # what each layer must lose
    fall(high, budget.total)  # the race
    return masks


# -- the combinations

CRITERIA = {
    "magnitude": (None, np.abs),
    "squares": (lambda w: w * w, lambda w: w * w),
    "normalized": (normalized_magnitude, lambda w: np.abs(w) / np.sqrt((w * w).mean(dtype="float32"))),
}
PATTERNS = [
    Element(),
    Block(2, 1),
    Block(1, 4),
    Block(2, 4),
    Block(4, 1, norm="l1"),
    Block(3, 2, axes="stored"),
    Block(2, 2, kernel="position", norm="max"),
    NM(2, 4, indivisible="skip"),
    NM(1, 2),
    Filter(),
    Filter("input", norm="l1"),
]
ALLOCATIONS = [
    Global(),
    Global(floor=0.0),
    Global(floor=0.5, max_sparsity=0.8),
    Global(min_sparsity=0.3),
    LAMP(),
    LAMP(max_sparsity=0.7),
    Uniform(),
    ERK(),
    ERK(max_sparsity=0.6),
    PerLayer({"conv.*": 0.5}),
    Threshold(0.2),
]


def one_weight_units(pattern):
    return isinstance(pattern, Element)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_masks_are_those_of_the_slow_loop(pattern, allocation):
    net = Net(layers, [2, 4, 6, 6])
    criterion, in_numpy = list(CRITERIA.values())[(PATTERNS.index(pattern) + ALLOCATIONS.index(allocation)) % 3]
    kwargs = {} if isinstance(allocation, (Threshold, PerLayer)) else {"ratio": 0.45}
    pruner = UnstructuredPruner(net.program, criterion=criterion, pattern=pattern, allocation=allocation, **kwargs)
    before = {p.name: net.get(p.name) for p in pruner.params}
    pruner.step()
    wanted = slow_masks(
        pruner.params,
        [pattern] * len(pruner.params),
        {name: in_numpy(w) for name, w in before.items()},
        allocation,
        pruner.ratio,
    )
    for param, mask in zip(pruner.params, wanted):
        assert ((net.get(param.mask_name) != 0).reshape(-1) == mask).all(), param.name
        assert (net.get(param.name) == before[param.name] * mask.reshape(param.shape)).all()
    assert pruner.sparsity() == sum(int((~mask).sum()) for mask in wanted) / sum(p.size for p in pruner.params)


@pytest.mark.parametrize("allocation", [Global(), LAMP(), Uniform(), ERK()], ids=repr)
@pytest.mark.parametrize("pattern", [Element(), Block(2, 1), NM(2, 4, indivisible="skip"), Filter()], ids=repr)
@pytest.mark.parametrize("criterion", [None, Random(), GeometricMedian()], ids=repr)
def test_a_gradual_schedule_only_ever_takes_and_ends_at_its_number(criterion, pattern, allocation):
    net = Net(layers, [2, 4, 6, 6], lambda: paddle.optimizer.Momentum(0.05, 0.9))
    ramp = Polynomial(final=0.45, initial=0.1, begin_step=1, end_step=4)
    pruner = UnstructuredPruner(net.program, criterion=criterion, pattern=pattern, allocation=allocation, schedule=ramp)
    gone = {p.name: np.zeros(p.shape, bool) for p in pruner.params}
    for _ in range(6):
        net.train(pruner)
        for name in gone:
            now = net.get(name) == 0
            assert now[gone[name]].all()
            gone[name] = now
    largest = {Element: 1, NM: 1, Block: 2 * 9, Filter: 6 * 9}[type(pattern)]
    apart = 0.45 * sum(p.size for p in pruner.params) - sum(mask.sum() for mask in gone.values())
    layers_apart = 1 if isinstance(allocation, (Global, LAMP)) else len(gone)
    assert -layers_apart <= apart <= layers_apart * largest


@pytest.mark.parametrize("pattern", ["2:4", NM(1, 4), NM(3, 4)], ids=repr)
def test_a_complete_pattern_holds_in_every_group_after_training(pattern):
    net = Net(lambda x: paddle.nn.Linear(8, 4)(paddle.nn.Linear(8, 8)(x)), [2, 8], lambda: paddle.optimizer.Adam(0.01))
    pruner = UnstructuredPruner(net.program, pattern=pattern)
    net.train(pruner, 3)
    net.run()
    n = 2 if pattern == "2:4" else pattern.n
    for param in pruner.params:
        groups = (net.get(param.name) != 0).T.reshape(-1, 4)
        assert (groups.sum(1) == n).all()


def test_a_pruned_weight_is_never_one_of_the_kept_of_its_group():
    """Random scores would bring it back, or leave its group with too few."""
    net = Net(lambda x: paddle.nn.Linear(8, 4)(x), [2, 8], lambda: paddle.optimizer.Momentum(0.1))
    pruner = UnstructuredPruner(
        net.program, pattern="2:4", criterion=Random(), schedule=lambda step: [0.2, 0.4, 0.5][min(step, 2)]
    )
    net.train(pruner, 4)
    assert ((net.get("linear_0.w_0") != 0).T.reshape(-1, 4).sum(1) == 2).all()


def test_parts_that_cannot_meet_are_refused_when_they_are_put_together():
    net = Net(layers, [2, 4, 6, 6])
    with pytest.raises(ValueError, match="0.6000"):
        UnstructuredPruner(net.program, pattern=NM(2, 4, indivisible="skip"), ratio=0.6)
    with pytest.raises(ValueError, match="groups of 4 along the input axis"):
        UnstructuredPruner(net.program, pattern=NM(2, 4, indivisible="error"))
    with pytest.raises(ValueError, match="norm with a scale"):
        from paddle_unstructured import NormScale

        UnstructuredPruner(net.program, criterion=NormScale(), ratio=0.5)
    assert not any(op.name() == "pd_op.data" and "mask" in op.attrs()["name"] for op in net.program.global_block().ops)


def test_a_lottery_ticket_keeps_its_mask_and_gets_its_early_weights_back():
    net = Net(layers, [2, 4, 6, 6], lambda: paddle.optimizer.Momentum(0.05, 0.9))
    pruner = UnstructuredPruner(net.program, schedule=Constant(0.2, begin_step=10_000))
    early = {p.name: net.get(p.name) for p in pruner.params}
    for ratio in (0.2, 0.36, 0.49):
        net.train(pruner, 2)
        pruner.ratio = ratio
        pruner.step()
        for name, weight in early.items():
            net.put(name, weight)
        pruner.update_params()
        for param in pruner.params:
            mask = net.get(param.mask_name)
            assert (net.get(param.name) == early[param.name] * mask).all()
    assert pruner.sparsity() == round(0.49 * 360) / 360


def test_lamp_within_n_of_m_counts_neither_the_protected_nor_the_pruned():
    random = np.random.default_rng(3)
    net = Net(lambda x: paddle.nn.Linear(8, 5)(paddle.nn.Linear(8, 8)(x)), [2, 8])
    pattern = NM(1, 4)
    pruner = UnstructuredPruner(
        net.program, pattern=pattern, allocation=LAMP(), schedule=lambda step: [0.25, 0.5, 0.75][min(step, 2)]
    )
    alive = {p.name: np.ones(p.shape, bool) for p in pruner.params}
    for sparsity in (0.25, 0.5, 0.75):
        competing = []
        for i, param in enumerate(pruner.params):
            weight = random.normal(size=param.shape).astype("float32") * alive[param.name] * 10.0**i
            net.put(param.name, weight)
            ranked = np.where(alive[param.name], np.abs(weight).astype("float64"), -np.inf)
            units = [(s, box) for s, box in units_of(pattern, param, ranked) if np.isfinite(s)]
            competing += [(score, param.name, box) for score, box in lamp(units)]
        pruner.step()
        falling = round(sparsity * 104) - sum(int((~mask).sum()) for mask in alive.values())
        for _, name, box in sorted(competing, key=lambda unit: unit[0])[:falling]:
            alive[name].reshape(-1)[box] = False
        for name, mask in alive.items():
            assert ((net.get(name + "_mask") != 0) == mask).all()


def test_layers_own_sparsities_meet_the_schedules_number_exactly_on_the_way():
    net = Net(layers, [2, 4, 6, 6])
    allocation = PerLayer({"conv2d_0.w_0": 0.5, "conv2d_1.w_0": 0.7, "linear_0.w_0": 0.3})
    pruner = UnstructuredPruner(
        net.program, allocation=allocation, schedule=lambda step: [0.051, 0.107, 0.132, 0.475][min(step, 3)]
    )
    for sparsity in (0.051, 0.107, 0.132, 0.475):
        pruner.step()
        assert net.zeros(*pruner.masks.values()) == round(sparsity * 360)
