# SPDX-License-Identifier: Apache-2.0
"""Scalars during training: every n steps, exact, and readable by VisualDL and TensorBoard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, two_linears

from paddle_unstructured import Block, Polynomial, UnstructuredPruner
from paddle_unstructured.reporting.scalars import ScalarLog

pytestmark = pytest.mark.usefixtures("static")


class Records:
    """A writer that remembers: {tag: {step: value}}."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, float]] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.found.setdefault(tag, {})[step] = value


def by_hand(ratio: float = 0.5) -> tuple[Net, Any]:
    """A 2x2 layer of the weights 1, -2, 3, 4, not trained."""
    net = Net(linear(2, 2), [3, 2])
    net.put("linear_0.w_0", [[1, -2], [3, 4]])
    return net, UnstructuredPruner(net.program, ratio=ratio)


def gradual(net: Net, **kwargs: Any) -> Any:
    schedule = Polynomial(initial=0.25, final=0.75, begin_step=0, end_step=6, update_every=2)
    return UnstructuredPruner(net.program, schedule=schedule, scope=net.scope, **kwargs)


def test_a_record_of_one_layer_is_what_one_counts_by_hand():
    net, pruner = by_hand()
    records = Records()
    log = ScalarLog(pruner, records, every=1)
    pruner.step()
    assert log.log()
    assert records.found == {
        "pruning/sparsity": {1: 0.5},
        "pruning/threshold": {1: pruner.threshold},
        "pruning/mask_churn": {1: 0.5},
        "pruning/kept_magnitude": {1: 3.5},
        "sparsity/linear_0.w_0": {1: 0.5},
        "mask_churn/linear_0.w_0": {1: 0.5},
        "kept_magnitude/linear_0.w_0": {1: 3.5},
    }
    assert 2 <= pruner.threshold <= 3


def test_churn_is_what_changed_since_the_last_record():
    net, pruner = by_hand(0.25)
    records = Records()
    log = ScalarLog(pruner, records, every=1)
    for ratio in (0.25, 0.75, 0.75):
        pruner.ratio = ratio
        pruner.step()
        log.log()
    assert records.found["pruning/mask_churn"] == {1: 0.25, 2: 0.5, 3: 0.0}


def test_only_every_nth_step_is_recorded_and_the_device_is_asked_only_then():
    net = Net(two_linears, [3, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner, records, asked = UnstructuredPruner(net.program, ratio=0.5), Records(), []
    original = pruner.kept_magnitude_by_layer
    pruner.kept_magnitude_by_layer = lambda: asked.append(pruner.steps) or original()
    log = ScalarLog(pruner, records, every=3)
    written = []
    for _ in range(7):
        net.train(pruner)
        written.append(log.log())
    assert written == [False, False, True, False, False, True, False]
    assert asked == [3, 6] == list(records.found["pruning/sparsity"])


def test_a_record_can_be_written_out_of_turn():
    net, pruner = by_hand()
    records = Records()
    log = ScalarLog(pruner, records, every=100)
    pruner.step()
    assert not log.log() and records.found == {}
    log.write()
    assert records.found["pruning/sparsity"] == {1: 0.5}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pattern", [None, "2:4", Block(2, 1)])
def test_every_record_of_a_gradual_run_agrees_with_the_weights(pattern, dtype):
    net = Net(
        lambda x: paddle.nn.Linear(8, 4)(paddle.nn.Linear(8, 8)(x)),
        [3, 8],
        lambda: paddle.optimizer.Adam(0.01),
        dtype=dtype,
    )
    schedule = Polynomial(initial=0.1, final=0.5, begin_step=0, end_step=6, update_every=2)
    pruner, records, before = UnstructuredPruner(net.program, pattern=pattern, schedule=schedule), Records(), {}
    log = ScalarLog(pruner, records, every=2)
    for step in range(1, 9):
        net.train(pruner)
        if not log.log():
            continue
        weights = {param.name: net.get(param.name) for param in pruner.params}
        masks = {param.name: net.get(param.mask_name) for param in pruner.params}
        for name, weight in weights.items():
            churn = (masks[name] != before.get(name, 1)).mean()
            kept = np.abs(weight)[masks[name] == 1].astype("float64").mean()
            assert records.found[f"sparsity/{name}"][step] == (weight == 0).mean()
            assert records.found[f"mask_churn/{name}"][step] == churn
            assert records.found[f"kept_magnitude/{name}"][step] == pytest.approx(kept, rel=1e-6)  # a float32 sum
        everything = np.concatenate([weight.reshape(-1) for weight in weights.values()])
        assert records.found["pruning/sparsity"][step] == (everything == 0).mean() == pruner.sparsity()
        assert records.found["pruning/threshold"][step] == pruner.threshold
        mean = np.abs(everything[everything != 0]).astype("float64").mean()
        assert records.found["pruning/kept_magnitude"][step] == pytest.approx(mean, rel=1e-6)
        before = masks
    assert records.found["pruning/sparsity"][8] == 0.5


def test_a_log_changes_nothing_in_training():
    nets = [Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Adam(0.01), own_scope=True) for _ in range(2)]
    pruners = [gradual(net) for net in nets]
    log = ScalarLog(pruners[0], Records(), every=1)
    for _ in range(8):
        for net, pruner in zip(nets, pruners):
            net.train(pruner)
        log.log()
    first, second = (net.everything() for net in nets)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_weights_of_a_masked_place_do_not_count_even_before_the_masks_are_applied_again():
    net, pruner = by_hand()
    pruner.step()
    net.put("linear_0.w_0", [[100, 100], [3, 5]])  # as after a load of dense weights
    assert pruner.kept_magnitude_by_layer() == {"linear_0.w_0": 8.0}


def test_a_layer_of_which_nothing_is_left_has_kept_magnitude_0():
    net, pruner = by_hand(1.0)
    records = Records()
    log = ScalarLog(pruner, records, every=1)
    pruner.step()
    log.log()
    assert records.found["kept_magnitude/linear_0.w_0"] == {1: 0.0} == records.found["pruning/kept_magnitude"]


def test_after_a_resume_records_fall_on_the_same_steps_and_churn_goes_on(tmp_path):
    def run(steps: int, resumed: bool = False) -> dict[str, dict[int, float]]:
        net = Net(two_linears, [3, 4], own_scope=True)
        pruner, records = gradual(net), Records()
        if resumed:
            pruner.load(str(tmp_path / "masks"))
        log = ScalarLog(pruner, records, every=2)
        while pruner.steps < steps:
            pruner.step()
            log.log()
        if steps == 4:
            pruner.save(str(tmp_path / "masks"))
        return records.found

    whole, first, second = run(8), run(4), run(8, resumed=True)
    assert {tag: {**first[tag], **second[tag]} for tag in first} == whole
    assert list(second["pruning/sparsity"]) == [6, 8]


def test_visualdl_reads_back_what_was_written(tmp_path):
    visualdl = quietly("visualdl")
    with visualdl.LogWriter(logdir=str(tmp_path)) as writer:
        wanted = written_through(writer)
    reader = visualdl.LogReader(file_path=str(next(tmp_path.iterdir())))
    assert set(wanted) <= set(reader.get_tags()["scalar"])
    for tag, values in wanted.items():
        got = {int(record.id): record.value for record in reader.get_data("scalar", tag)}
        assert got == {step: np.float32(value) for step, value in values.items()}


def test_tensorboard_alone_reads_back_what_was_written(tmp_path):
    quietly("tensorboard")
    from tensorboard.summary import Writer

    writer = Writer(str(tmp_path))
    wanted = written_through(writer)
    writer.close()
    assert in_event_files(tmp_path) == wanted


def test_tensorboardx_reads_back_what_was_written(tmp_path):
    quietly("tensorboard")
    with quietly("tensorboardX").SummaryWriter(str(tmp_path)) as writer:
        wanted = written_through(writer)
    assert in_event_files(tmp_path) == wanted


def test_a_writer_that_cannot_add_scalars_is_refused():
    with pytest.raises(TypeError, match=r"`writer` must have a method add_scalar.*got str"):
        ScalarLog(by_hand()[1], "log")


@pytest.mark.parametrize("every", [0, -1, 2.0, True, None])
def test_a_senseless_interval_is_refused(every):
    with pytest.raises(ValueError, match=f"`every` must be a whole number of steps >= 1, got {every!r}"):
        ScalarLog(by_hand()[1], Records(), every=every)


def quietly(module: str) -> Any:
    """The module, or skip; what it warns of at its import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def written_through(writer: Any) -> dict[str, dict[int, float]]:
    """Train a little, writing to the writer and to a list; returns the list, as float32."""
    net = Net(two_linears, [3, 4], lambda: paddle.optimizer.Adam(0.01))
    pruner, records = gradual(net), Records()
    logs = [ScalarLog(pruner, one, every=2) for one in (writer, records)]
    for _ in range(6):
        net.train(pruner)
        for log in logs:
            log.log()
    return {
        tag: {step: float(np.float32(value)) for step, value in values.items()} for tag, values in records.found.items()
    }


def in_event_files(folder: Path) -> dict[str, dict[int, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    found = {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:
        assert events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        found[tag] = {e.step: float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}
    return found
