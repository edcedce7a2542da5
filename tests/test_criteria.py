# SPDX-License-Identifier: Apache-2.0
"""What a weight is worth."""

from __future__ import annotations

import paddle
import pytest
from nets import tensor

from paddle_unstructured import NormScale, Random, Saliency, UnstructuredPruner, magnitude
from paddle_unstructured.criteria import as_watching, source_of


def test_magnitude_is_the_absolute_value():
    assert magnitude(tensor([[-2.0, 0.5], [0.0, -0.0]])).tolist() == [[2.0, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_magnitude_keeps_the_precision(dtype):
    score = magnitude(tensor([-1.0 - 2.0**-40], dtype))
    assert (score.dtype.name.lower(), score.item()) == (dtype, 1.0 + 2.0**-40 if dtype == "float64" else 1.0)


class Watcher:
    source = "output"

    def score(self, weight, param, information):
        return weight


def test_a_criterion_is_given_what_its_source_says():
    assert (source_of(magnitude), source_of(Random()), source_of(NormScale())) == (None, None, "norm scale")
    assert as_watching(magnitude) is as_watching(NormScale()) is None
    assert as_watching(Saliency()) == Saliency()


def test_a_source_that_nothing_gives_and_a_watcher_that_says_not_how_are_refused():
    unknown = Watcher()
    unknown.source = "hessian"
    with pytest.raises(ValueError, match="`criterion.source` must be one of norm scale, gradient, output"):
        source_of(unknown)
    with pytest.raises(TypeError, match="`criterion` must be an object with `batches`, `observed_shape`"):
        as_watching(Watcher())


@pytest.mark.parametrize(
    "criterion, error, message",
    [
        (lambda weight: None, TypeError, r"of shape \[2, 4\] for weight, got None"),
        (lambda weight: weight.numpy(), TypeError, r"of shape \[2, 4\] for weight, got .*ndarray"),
        (lambda weight: weight.sum(), ValueError, r"of shape \[2, 4\] for weight, got shape \[\] from"),
        (lambda weight: weight[0], ValueError, r"got shape \[4\] from .*lambda"),
        (Watcher(), ValueError, None),
    ],
)
def test_what_a_criterion_gives_is_a_score_for_each_weight(criterion, error, message):
    if message is None:
        criterion.source, criterion.score, message = None, lambda *given: given[0].T, r"got shape \[4, 2\] from"
    model = paddle.nn.Linear(2, 4)
    pruner = UnstructuredPruner(model, ratio=0.5, criterion=criterion)
    with pytest.raises(error, match=message):
        pruner.step()
    assert pruner.steps == 0 and pruner.total_sparse(model) == 0


def test_a_criterion_may_answer_true_and_false():
    model = paddle.nn.Linear(2, 2)
    model.weight.set_value(tensor([[-3.0, 1.0], [2.0, -4.0]]))
    UnstructuredPruner(model, ratio=0.5, criterion=lambda weight: weight > 0).step()
    assert model.weight.tolist() == [[0, 1], [2, 0]]
