# SPDX-License-Identifier: Apache-2.0
"""The trained net that shows the one in training what to answer (--teacher_weight)."""

from __future__ import annotations

import argparse
from typing import Callable

import checkpoints
import paddle
from data import spec_of
from programs import build_net, parameters

from paddle_unstructured.training.recipe import Recipe


def make_teacher(args: argparse.Namespace, exe: paddle.static.Executor, place, recipe: Recipe) -> Callable:
    """Build the net of --pretrained_model in a scope of its own; return (loss, logits) → the recipe's loss.

    A resumed run needs no --pretrained_model: its checkpoint has the teacher's weights, and brings them back later.
    """
    spec, scope = spec_of(args), paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        net = build_net(args.model, **spec.words(args.model), width=args.width)
        exe.run(net.startup)
        if args.pretrained_model:
            file = checkpoints.find_weights(args.pretrained_model)
            checkpoints.load_weights(file, parameters(net.test), place)
    return lambda loss, logits: recipe.loss(loss, logits, net.outputs[0], teacher_scope=scope)
