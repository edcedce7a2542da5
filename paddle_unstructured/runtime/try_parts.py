# SPDX-License-Identifier: Apache-2.0
"""Parts of a Program beside what Paddle computes: what differs is left to Paddle."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import paddle

from .engine import Engine
from .net import Net
from .parts import Finder, Part
from .read_parts import RefusedAt, read_part
from .trial import are_close
from .views import OPEN
from .write_plan import emit

_AT_ONCE = 16  # ops whose results are compared with Paddle's in one run


def look(finder: Finder, feeds: Mapping[str, np.ndarray]) -> bool:
    """Find values that are not ours and whose first axis is not the samples, on a few; whether there are new ones.

    Windows of samples, some of each, are no such values.
    """
    asked = [
        value
        for at in finder.foreign
        for value in finder.graph.makes[at]
        if value not in finder.odd and finder.is_tensor(value) and list(finder.values[value].shape)[:1] in ([OPEN], [1])
    ]
    counts = {len(feeds[name]) for name, one in finder.model.inputs.items() if list(one.shape)[:1] == [OPEN]}
    if not asked or len(counts) != 1:
        return False
    [seen] = values_of(finder, asked, [feeds])
    [samples] = counts
    shared = {value for value in asked if list(finder.values[value].shape)[0] == 1}  # so the Program says
    odd = {value for value in asked if (len(seen[value]) != 1 if value in shared else len(seen[value]) % samples)}
    if odd:
        finder.odd |= odd
        finder.foreign.clear()  # what was refused may have followed from these
        finder.blamed.clear()
    return bool(odd)


def tried(finder: Finder, parts: Sequence[Part], feeds: Mapping[str, np.ndarray]) -> list[Part]:
    """The parts that return what Paddle's ops return; what is to blame in the others is noted as foreign."""
    numbers = sorted({value for part in parts for value in (*part.inputs, *part.outputs)})
    [seen] = values_of(finder, numbers, [feeds])
    fitting = [part for part in parts if _meets(finder, part, seen, feeds)]
    return [part for part in fitting if _agrees(finder, part, seen, feeds)]


def _meets(finder: Finder, part: Part, seen: Mapping[int, np.ndarray], feeds: Mapping[str, np.ndarray]) -> bool:
    """Whether all inputs of a part have equally many samples; those that have others are none of a plan's."""
    open_ones = [value for value in part.inputs if list(finder.values[value].shape)[:1] == [OPEN]]
    counts = {value: len(seen[value]) for value in open_ones}
    samples = {len(feeds[name]) for name, one in finder.model.inputs.items() if list(one.shape)[:1] == [OPEN]}
    if len(set(counts.values())) <= 1:
        return True
    odd = {value for value, count in counts.items() if count not in samples}
    finder.odd |= odd
    if not odd:
        finder.leave_out(part, "what it reads has different numbers of samples")
    return False


def values_of(
    finder: Finder, numbers: Sequence[int], batches: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[int, np.ndarray]]:
    """What Paddle computes under some numbers of values, for each batch."""
    mapping = paddle.pir.IrMapping()
    program = finder.model.program.clone(mapping)  # a Program keeps what it is asked to fetch
    for op in list(program.global_block().ops):
        if op.name() == "pd_op.fetch":
            program.global_block().remove_op(op)
    wanted = [mapping.look_up(finder.values[number]) for number in numbers]
    executor, found = paddle.static.Executor(finder.model.place), []
    for feeds in batches:
        arrays = executor.run(program, feed=dict(feeds), fetch_list=wanted, scope=finder.model.scope)
        found.append(dict(zip(numbers, map(np.asarray, arrays))))
    return found


def _agrees(finder: Finder, part: Part, seen: Mapping[int, np.ndarray], feeds: Mapping[str, np.ndarray]) -> bool:
    try:
        is_right = _computes(part.net, [seen[value] for value in part.inputs], [seen[v] for v in part.outputs])
        why = "does not compute what Paddle computes"
    except Exception as error:  # a fault of ours, which shall not cost the model
        is_right, why = False, f"does not run ({error})"
    if is_right:
        return True
    try:
        culprit = _culprit(finder, part, feeds)
    except Exception:  # of any kind that Paddle's C++ comes to Python with
        culprit = None
    if culprit is None:
        finder.leave_out(part, f"the part {why}")
    else:
        finder.foreign[culprit] = finder.blamed[culprit] = f"its layer {why}"
    return False


def _culprit(finder: Finder, part: Part, feeds: Mapping[str, np.ndarray]) -> int | None:
    """The first op of a part whose results are not Paddle's; None if each by itself is right."""
    changed = {
        finder.graph.reads[at][0]
        for at, op in enumerate(finder.ops)
        if op.name().endswith("_") and "batch_norm" not in op.name() and finder.graph.reads[at]
    }
    read = {value for each in finder.graph.reads for value in each} - changed
    makes = {at: [v for v in finder.graph.makes[at] if finder.is_tensor(v) and v in read] for at in part.ops}
    asked = {at: values for at, values in sorted(makes.items()) if values}
    [seen] = values_of(finder, sorted({*part.inputs, *(v for values in asked.values() for v in values)}), [feeds])

    def is_right(some: Mapping[int, Sequence[int]]) -> bool:
        left = dict(some)
        while left:
            returned = {at: [finder.values[value] for value in values] for at, values in left.items()}
            try:
                net = read_part(finder.model, part.inside, [finder.values[value] for value in part.inputs], returned)
                wanted = [seen[value] for values in left.values() for value in values]
                return _computes(net, [seen[value] for value in part.inputs], wanted, repeat=True)
            except RefusedAt as refusal:  # no plan returns it
                if not left.keys() & refusal.reasons:
                    return True
                left = {at: values for at, values in left.items() if at not in refusal.reasons}
            except Exception:
                return False
        return True

    places = list(asked)
    for some in (places[i : i + _AT_ONCE] for i in range(0, len(places), _AT_ONCE)):
        if not is_right({at: asked[at] for at in some}):
            return next((at for at in some if not is_right({at: asked[at]})), None)
    return None


def _computes(net: Net, given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], *, repeat: bool = False) -> bool:
    """Whether a net returns these numbers; with `repeat`, an axis of 1 may stand for one that repeats it."""
    writer, _ = emit(net)
    found: Sequence[np.ndarray] = Engine(writer.text, writer.arrays).run(*given)
    if repeat:
        found = [np.broadcast_to(one, want.shape) if one.ndim == want.ndim else one for one, want in zip(found, wanted)]
    return all(map(are_close, found, wanted))
