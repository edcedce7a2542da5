# SPDX-License-Identifier: Apache-2.0
"""A teacher inside the student's Program: the right loss, the right gradients, and nothing of it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.training.distillation import distill, divergence

pytestmark = pytest.mark.usefixtures("static")

WEIGHTS = {"linear_0.w_0": [[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], "linear_0.b_0": [0.0, 0.1, 0.2]}


class Student:
    """[n, 2] -> 3 classes, trained by SGD on cross entropy mixed with a teacher's answers."""

    def __init__(self, layers: Any, teacher: Any, rate: float = 0.1, batch_norm: bool = False, **kwargs: Any) -> None:
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.program, self.startup):
            self.x = paddle.static.data("x", [None, 2])
            self.label = paddle.static.data("label", [None, 1], "int64")
            self.logits = layers(self.x)
            self.alone = F.cross_entropy(self.logits, self.label)
            self.loss = distill(self.alone, self.logits, teacher.output, teacher_scope=teacher.scope, **kwargs)
            paddle.optimizer.SGD(rate).minimize(self.loss)
        self.exe = paddle.static.Executor(paddle.CPUPlace())
        self.exe.run(self.startup)

    def run(self, x: np.ndarray, label: np.ndarray) -> list[float]:
        fetched = self.exe.run(self.program, feed={"x": x, "label": label}, fetch_list=[self.loss, self.alone])
        return [float(value) for value in fetched]


def teacher_net(layers: Any = lambda x: nn.Linear(2, 3)(x), shape: tuple = (None, 2)) -> Net:
    return Net(layers, list(shape), own_scope=True, seed=5)


def get(name: str) -> np.ndarray:
    return np.array(paddle.static.global_scope().find_var(name).get_tensor())


def put(name: str, value: Any) -> None:
    paddle.static.global_scope().find_var(name).get_tensor().set(np.float32(value), paddle.CPUPlace())


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


BATCH = np.random.default_rng(0).normal(size=(4, 2)).astype("float32"), np.array([[0], [2], [1], [1]])


def test_the_loss_is_the_written_out_mixture():
    teacher = teacher_net()
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher, weight=0.3, temperature=4.0)
    for name, value in WEIGHTS.items():
        put(name, value)
    mixed, alone = student.run(*BATCH)
    own = BATCH[0] @ np.float64(WEIGHTS["linear_0.w_0"]) + WEIGHTS["linear_0.b_0"]
    shown = BATCH[0] @ teacher.get("linear_0.w_0") + teacher.get("linear_0.b_0")
    p, q = softmax(shown / 4.0), softmax(own / 4.0)
    expected = 0.7 * alone + 0.3 * 16.0 * (p * np.log(p / q)).sum(-1).mean()
    assert mixed == pytest.approx(expected, rel=1e-5)


def test_the_divergence_of_equal_logits_is_zero_and_it_is_averaged_over_the_batch():
    paddle.disable_static()
    logits = paddle.to_tensor(np.float32([[1, 2, 3], [0, 0, 5]]))
    assert float(divergence(logits, logits + 7.0)) == pytest.approx(0.0, abs=1e-6)
    other = logits * 2.0
    each = [float(divergence(other[i : i + 1], logits[i : i + 1])) for i in range(2)]
    assert float(divergence(other, logits)) == pytest.approx(sum(each) / 2, rel=1e-5)
    assert min(each) > 0


def test_with_the_whole_weight_the_student_learns_the_teacher_and_not_the_labels():
    teacher = teacher_net()
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher, rate=1.0, weight=1.0, temperature=1.0)
    random = np.random.default_rng(1)
    for _ in range(300):
        student.run(random.normal(size=(32, 2)).astype("float32"), random.integers(0, 3, (32, 1)))
    gap = get("linear_0.w_0") - teacher.get("linear_0.w_0")
    assert np.abs(gap - gap.mean(1, keepdims=True)).max() < 0.02  # softmax does not see a common shift of the logits


def test_without_weight_training_is_as_it_was_without_a_teacher():
    teacher = teacher_net()
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher, weight=0.0)
    for name, value in WEIGHTS.items():
        put(name, value)
    mixed, alone = student.run(*BATCH)
    assert mixed == alone
    own = BATCH[0] @ np.float64(WEIGHTS["linear_0.w_0"]) + WEIGHTS["linear_0.b_0"]
    step = BATCH[0].T @ (softmax(own) - np.eye(3)[BATCH[1][:, 0]]) / 4
    np.testing.assert_allclose(get("linear_0.w_0"), WEIGHTS["linear_0.w_0"] - 0.1 * step, rtol=1e-5)


def test_the_teacher_neither_trains_nor_gathers_statistics_nor_drops_out():
    teacher = teacher_net(lambda x: nn.Linear(4, 3)(nn.Dropout(0.5)(nn.BatchNorm1D(4)(nn.Linear(2, 4)(x)))))
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher, rate=0.0)
    names = list(teacher.everything())
    before = {name: get(f"teacher.{name}") for name in names}
    losses = {student.run(*BATCH)[0] for _ in range(3)}
    assert len(losses) == 1 and len(names) == 8
    assert all((get(f"teacher.{name}") == before[name]).all() for name in names)


def test_a_teacher_of_the_same_names_in_the_same_scope_is_copied_and_does_not_follow_the_student():
    dense = Net(lambda x: nn.Linear(2, 3)(x), [None, 2])
    was = dense.get("linear_0.w_0")
    student = Student(lambda x: nn.Linear(2, 3)(x), dense)
    for _ in range(3):
        student.run(*BATCH)
    assert (get("teacher.linear_0.w_0") == was).all()
    assert (get("linear_0.w_0") != was).any()


def test_a_pruner_sees_the_student_only_and_the_inference_model_has_no_teacher(tmp_path):
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher_net())
    pruner = UnstructuredPruner(student.program, ratio=0.5)
    student.run(*BATCH)
    pruner.step()
    student.run(*BATCH)
    assert [param.name for param in pruner.params] == ["linear_0.w_0"]
    assert (get("linear_0.w_0") == 0).sum() == 3 and (get("teacher.linear_0.w_0") != 0).all()
    paddle.static.save_inference_model(
        str(tmp_path / "m"), [student.x], [student.logits], student.exe, program=student.program
    )
    assert b"teacher." not in (tmp_path / "m.json").read_bytes()


def test_a_teacher_with_another_input_name_is_told_which_value_it_reads():
    teacher = Net(lambda x: nn.Linear(2, 3)(x), [None, 2], own_scope=True)
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        pixels = paddle.static.data("pixels", [None, 2])
        logits = nn.Linear(2, 3)(pixels)
        with pytest.raises(ValueError, match="`inputs` must say .* reads as x; .* has the inputs pixels"):
            distill(logits.mean(), logits, teacher.output, teacher_scope=teacher.scope)
        ops = program.num_ops()
        distill(logits.mean(), logits, teacher.output, teacher_scope=teacher.scope, inputs={"x": pixels})
        assert program.num_ops() > ops
        with pytest.raises(ValueError, match="`prefix` must give new names.*teacher.linear_0.[wb]_0"):
            distill(logits.mean(), logits, teacher.output, teacher_scope=teacher.scope, inputs={"x": pixels})


def test_a_loss_that_is_no_value_is_refused_and_leaves_no_ops():
    teacher = teacher_net()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        logits = nn.Linear(2, 3)(paddle.static.data("x", [-1, 2]))
        loss = logits.mean()
        ops = program.num_ops()
        with pytest.raises(TypeError, match="`loss` must be a value of a PIR Program, got int"):
            distill(-1, logits, teacher.output, teacher_scope=teacher.scope)
        with pytest.raises(TypeError, match="`inputs` must be a dict .*got list"):
            distill(loss, logits, teacher.output, teacher_scope=teacher.scope, inputs=[])
    assert program.num_ops() == ops


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"weight": 1.5}, r"`weight` must be in \[0, 1\], got 1.5"),
        ({"temperature": 0.0}, "`temperature` must be > 0, got 0.0"),
    ],
)
def test_values_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Student(lambda x: nn.Linear(2, 3)(x), teacher_net(), **wrong)


def test_a_teacher_of_other_classes_or_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"`teacher_logits` must have the shape of `logits`, \[-1, 3\], got \[-1, 4\]"):
        Student(lambda x: nn.Linear(2, 3)(x), teacher_net(lambda x: nn.Linear(2, 4)(x)))
    teacher = teacher_net()
    teacher.scope = paddle.static.Scope()
    with pytest.raises(ValueError, match="linear_0.[wb]_0 .* has no value in its scope; load its weights first"):
        Student(lambda x: nn.Linear(2, 3)(x), teacher)
    teacher.output = "logits"
    with pytest.raises(TypeError, match="`teacher_logits` must be a value of a PIR Program, got str"):
        Student(lambda x: nn.Linear(2, 3)(x), teacher)


def refused(program: Any, message: str, *answers: Any, **words: Any) -> None:
    """`distill` refuses, and the Program has the ops and variables that it had."""
    before = [op.id() for op in program.global_block().ops]
    with pytest.raises((TypeError, ValueError), match=message):
        distill(*answers, **words)
    assert [op.id() for op in program.global_block().ops] == before
    assert paddle.static.global_scope().find_var("teacher.linear_0.w_0") is None


def test_a_loss_or_logits_of_another_program_are_refused():
    teacher, net = teacher_net(), teacher_net()
    for answers in ((teacher.loss, net.output, teacher.output), (net.loss, teacher.output, net.output)):
        refused(net.program, "`loss` and `logits` must be values of one Program", *answers)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"x": "pixels"}, r"`inputs\['x'\]` must be a value of a PIR Program, got str"),
        ({"x": "foreign"}, r"`inputs\['x'\]` must be a value of the Program that is copied into, got another's"),
        ({"x": "x", "y": "x"}, "`inputs` must name inputs of the Program that is copied, x, got y"),
        (
            {"x": "wide"},
            r"`inputs\['x'\]` must be \[-1, 2\] .*as .*reads x, got \[-1, 3\] paddle.float32; name another",
        ),
        ({"x": "whole"}, r"`inputs\['x'\]` must be \[-1, 2\] paddle.float32, .* got \[-1, 2\] paddle.int64"),
        (None, r"`inputs\['x'\]` must be \[-1, 2\] .*got \[-1, 3\]"),
    ],
)
def test_what_the_teacher_cannot_read_is_refused_by_name(inputs, message):
    teacher = teacher_net()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        wide = paddle.static.data("x", [-1, 3])
        x = paddle.static.data("two", [-1, 2])
        logits = nn.Linear(2, 3)(x)
        values = {"x": x, "wide": wide, "whole": x.cast("int64"), "foreign": teacher.input}
        loss = logits.mean()
    given = None if inputs is None else {name: values.get(value, value) for name, value in inputs.items()}
    refused(program, message, loss, logits, teacher.output, teacher_scope=teacher.scope, inputs=given)


def test_answers_that_would_mean_nothing_are_refused():
    one = teacher_net(lambda x: nn.Linear(2, 1)(x))
    refused(
        one.program,
        r"`logits` must be of two classes .* got shape \[-1, 1\]; .*concat",
        one.loss,
        one.output,
        one.output,
    )
    net = teacher_net()
    with paddle.static.program_guard(net.program):
        rows, whole = net.output.mean(1), net.output.cast("int64")
    refused(net.program, r"`loss` must be a scalar, got shape \[-1\]; take its mean", rows, net.output, net.output)
    refused(
        net.program, "`teacher_logits` must be floating-point numbers, got paddle.int64", net.loss, net.output, whole
    )


def test_tensors_that_would_broadcast_are_refused():
    paddle.disable_static()
    logits = paddle.ones([4, 3])
    with pytest.raises(ValueError, match=r"shape of `logits`, \[4, 3\], got \[1, 3\]; .*of the same batch"):
        distill(logits.mean(), logits, logits[:1])
    with pytest.raises(TypeError, match="`logits` must be a Tensor, as the others are, got ndarray"):
        distill(logits.mean(), logits.numpy(), logits)


def test_it_needs_no_guard_and_takes_a_teacher_of_another_precision():
    def mixed(guarded: Any, layers: Any) -> float:
        teacher, student = teacher_net(layers), teacher_net()
        with paddle.static.program_guard(guarded or student.program):
            loss = distill(
                student.loss,
                student.output,
                teacher.output,
                scope=student.scope,
                teacher_scope=teacher.scope,
                weight=0.7,
            )
        feed = {"x": BATCH[0]}
        return float(student.exe.run(student.program, feed=feed, fetch_list=[loss], scope=student.scope)[0])

    expected = mixed(None, lambda x: nn.Linear(2, 3)(x))
    assert mixed(paddle.static.Program(), lambda x: nn.Linear(2, 3)(x)) == expected
    assert mixed(None, lambda x: nn.Linear(2, 3)(x).cast("float64")) == expected


@pytest.mark.parametrize(
    "drop",
    [
        nn.Dropout2D(0.5),
        lambda x: F.dropout(x, 0.5, axis=1),
        lambda x: x / 0.5 * paddle.floor(0.5 + paddle.rand([paddle.shape(x)[0], 1, 1, 1])),
    ],
    ids=["Dropout2D", "dropout of an axis", "drop path"],
)
def test_the_teacher_drops_nothing_at_random(drop):
    teacher = teacher_net(lambda x: nn.Linear(2, 3)(drop(x.reshape([-1, 2, 1, 1])).flatten(1)))
    student = Student(lambda x: nn.Linear(2, 3)(x), teacher, rate=0.0, weight=1.0)
    assert len({student.run(*BATCH)[0] for _ in range(4)}) == 1
    assert "pd_op.uniform" not in [op.name() for op in student.program.global_block().ops]


def test_a_teacher_of_random_answers_is_refused_by_the_op_that_makes_them():
    teacher = teacher_net(lambda x: nn.Linear(2, 3)(x) + paddle.randn([3]))
    with pytest.raises(ValueError, match="pd_op.gaussian has no inference mode"):
        Student(lambda x: nn.Linear(2, 3)(x), teacher)
