# SPDX-License-Identifier: Apache-2.0
"""Distillation: a trained net, the teacher, shows the one in training what to answer, inside the same Program."""

from __future__ import annotations

from typing import Any, Mapping

import paddle
import paddle.nn.functional as F

from ..arguments import fraction, instance, number
from ..graph import open_graph
from ..graph.splice import program_of, splice
from ..graph.undo import all_or_nothing
from ..graph.values import agree


def distill(
    loss: Any,
    logits: Any,
    teacher_logits: Any,
    *,
    weight: float = 0.5,
    temperature: float = 2.0,
    inputs: Mapping[str, Any] | None = None,
    scope: Any = None,
    teacher_scope: Any = None,
    prefix: str = "teacher.",
) -> Any:
    """Mix a teacher's answers into a loss.

    (1 - weight) * loss + weight * T^2 * KL(softmax(teacher_logits / T) || softmax(logits / T)), mean over the batch

    Call it before `minimize`. The teacher's Program is copied into the
    training Program, in test mode: no further feed and no further run per batch. Its weights, as they are now, are
    copied under names of their own, so it may be the net that is then pruned. They never train, are never pruned, and
    are not part of inference models.

    In dynamic mode: Tensors instead, `teacher_logits` as the teacher gave them for the same batch; it gets no gradient.

    Args:
        loss: loss of the training Program, a scalar.
        logits: logits of the training Program, [batch, classes].
        teacher_logits: logits of the teacher's Program, which is not changed, [batch, classes].
        weight: weight of the teacher's part, in [0, 1].
        temperature: T, > 0: a higher one tells more of the unlikely classes.
        inputs: Name of an input of the teacher -> value of the training Program. Default: the training Program's input
            of the same name.
        scope: scope of the training Program; default: the global scope.
        teacher_scope: scope that holds the teacher's weights; default: `scope`.
        prefix: text that goes before the names of the teacher's variables; a second teacher needs another one.

    Returns:
        The mixed loss, a scalar of the training Program.

    Raises:
        ValueError: A value out of range; a loss that is no scalar; logits of different shapes, or of one class; a loss
            of another Program than the logits; a teacher without weights, or with control flow; an input that nothing
            is given for, or what it cannot read; a prefix that is taken. The Program is as it was.
        TypeError: Something that is not a value of a PIR Program.

    Example:
        >>> with paddle.static.program_guard(main_program, startup_program):  # doctest: +SKIP
        ...     loss = distill(loss, logits, dense_logits, teacher_scope=dense_scope)
        ...     optimizer.minimize(loss)

    Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531.
    """
    check_mixture(weight, temperature)
    answers = {"loss": loss, "logits": logits, "teacher_logits": teacher_logits}
    if any(isinstance(value, paddle.Tensor) for value in answers.values()):
        _check_eager(answers, {"inputs": inputs, "scope": scope, "teacher_scope": teacher_scope})
        _check_answers(loss, logits, teacher_logits)
        return _mixed(loss, logits, teacher_logits.detach(), weight, temperature)
    programs = {name: program_of(value, name) for name, value in answers.items()}
    if programs["loss"] != programs["logits"]:
        raise ValueError(
            "`loss` and `logits` must be values of one Program, the one that trains, got values of two; only "
            "`teacher_logits` may be of another."
        )
    instance("prefix", prefix, str, rule="the beginning of names")
    if inputs is not None:
        instance("inputs", inputs, Mapping, rule="a dict of the teacher's inputs, name -> value")
    if teacher_scope is not None:
        instance("teacher_scope", teacher_scope, paddle.base.core._Scope, rule="a paddle.static.Scope or None")
    student = open_graph(programs["logits"], scope)
    teacher = open_graph(programs["teacher_logits"], teacher_scope or student.scope)
    _check_answers(loss, logits, teacher_logits)
    with all_or_nothing(student), paddle.static.program_guard(student.program):
        [shown] = splice(teacher, [teacher_logits], student, inputs or {}, prefix)
        return _mixed(loss, logits, shown, weight, temperature)


def _mixed(loss: Any, logits: Any, shown: Any, weight: float, temperature: float) -> Any:
    shown = shown if shown.dtype == logits.dtype else shown.cast(logits.dtype)
    apart = divergence(shown / temperature, logits / temperature)
    return (1.0 - weight) * loss + weight * temperature**2 * (
        apart if apart.dtype == loss.dtype else apart.cast(loss.dtype)
    )


def _check_eager(answers: Mapping[str, Any], static: Mapping[str, Any]) -> None:
    for name, value in answers.items():
        instance(name, value, paddle.Tensor, rule="a Tensor, as the others are")
    for name, value in static.items():
        if value is not None:
            raise TypeError(f"`{name}` belongs to static Programs, got one with Tensors; leave it out.")


def _check_answers(loss: Any, logits: Any, teacher_logits: Any) -> None:
    """Refuse what broadcasts to a number that means nothing."""
    for name, value in (("loss", loss), ("logits", logits), ("teacher_logits", teacher_logits)):
        if not value.is_floating_point():
            raise ValueError(f"`{name}` must be floating-point numbers, got {value.dtype}.")
    if list(loss.shape) not in ([], [1]):
        raise ValueError(f"`loss` must be a scalar, got shape {list(loss.shape)}; take its mean.")
    if len(logits.shape) < 2 or logits.shape[-1] == 1:
        raise ValueError(
            f"`logits` must be of two classes or more, [batch, classes], got shape {list(logits.shape)}; of one logit "
            "z for yes or no give concat([z, zeros_like(z)], -1), of both nets: its softmax is the sigmoid of z."
        )
    if not agree(logits.shape, teacher_logits.shape):
        raise ValueError(
            f"`teacher_logits` must have the shape of `logits`, {list(logits.shape)}, got "
            f"{list(teacher_logits.shape)}; both nets must tell the same classes apart, of the same batch."
        )


def divergence(wanted: Any, logits: Any) -> Any:
    """KL(softmax(wanted) || softmax(logits)), [..., classes] each -> mean over all but the last axis."""
    # Not F.kl_div(reduction="batchmean"): in a static Program it divides by the batch size of the shape, which is -1.
    gap = F.log_softmax(wanted, axis=-1) - F.log_softmax(logits, axis=-1)
    return paddle.mean(paddle.sum(F.softmax(wanted, axis=-1) * gap, axis=-1))


def check_mixture(weight: float, temperature: float) -> None:
    """Raise ValueError unless a teacher's weight is in [0, 1] and its temperature above 0."""
    fraction("weight", weight, rule="in [0, 1]", hint="0 leaves the teacher out")
    number("temperature", temperature, above=0, rule="> 0", hint="1 leaves the logits as they are")
