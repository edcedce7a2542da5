# SPDX-License-Identifier: Apache-2.0
"""The machine: asks the schedule at every step, and lets the device update the masks when one is due."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Callable, Iterable, Mapping, Sequence

from . import checkpoint, distributed
from .allocation import Allocation, Threshold
from .arguments import StrPath, flag, fraction, name_of
from .compat import paddleslim
from .compat.config_list import Rules
from .criteria import Criterion
from .distributed.ranks import adopt, check_joined
from .formats.yaml import write_yaml
from .graph import LayerGraph, Param, open_any
from .masking import notices
from .masking.masked import MaskedLayers
from .masking.plan import PruningPlan, make_plan
from .masking.update import PrunedLayer
from .patterns import Pattern
from .reporting import report
from .schedules import Constant, Schedule
from .selection import Select, share, tell_share

_log = logging.getLogger(__name__)


class UnstructuredPruner:
    """Make the weights of a static Program or an nn.Layer sparse, and keep them so.

    Every `exe.run` of the training Program leaves the pruned weights exactly zero: their masks are part of the Program.
    So does every `optimizer.step()` of a Layer, if the pruner knows the optimizer; else every `step()` of the pruner.
    `step()`, called after each of them, asks the schedule whether the masks are due for an update; if so, they are
    computed on the device from the stored weights.

    Args:
        program: A PIR Program: training (before or after `minimize`) or inference. Its startup Program may run before
            or after this; the weights are looked at when they are first needed. Other pruners may work on it: what one
            has pruned stays pruned for all. Or an nn.Layer, under the same rules.
        mode: "ratio": the lowest scored weights, `ratio` of all; "threshold": all weights with |w| < `threshold`.
        ratio: Fraction of the n selected weights to prune, in [0, 1]: exactly round(ratio * n) of them.
        threshold: For mode "threshold": >= 0.
        scope: Where the weights are. Default: the global scope.
        place: The device. Default: Paddle's current one.
        prune_params_type: None: all weights; "conv1x1_only": 1x1 convolutions only.
        skip_params_func: program -> names of params to leave dense, beside norms and biases.
        local_sparsity: Prune `ratio` of every layer by itself; the same as `allocation=Uniform()`.
        sparse_block: [m, n]: blocks of m x n along the first two stored axes fall as a whole; the same as
            `pattern=Block(m, n, axes="stored")`.
        select: Param -> bool, or (bool, reason): which weights to prune.
        criterion: weight -> score, larger = keep. Default: `magnitude`.
        pattern: What falls together; "2:4" is short for NM(2, 4). Default: `Element()`.
        allocation: Who competes for the budget. Default: `Global()`.
        schedule: step -> sparsity. Default: `Constant(ratio)`; without a ratio, n:m patterns and `PerLayer` bring the
            sparsity that they mean.
        rules: A list of dicts, or the path of a YAML file, that says which layers are pruned how; see
            `paddle_unstructured.compat.config_list.choices`. Instead of pattern, criterion and allocation.
        optimizer: optimizer of the Layer: its `step` and `minimize` leave the pruned weights exactly zero. Also later,
            by `watch`.
        input_spec: An InputSpec for each input of the Layer, to trace it with: what a weight is for is read off the
            ops, as in a Program. Default: it is told by the layers that hold the weights, and what they do not tell
            stays dense.

    Raises:
        ValueError: A value out of range; a word given together with the part it stands for; nothing to prune; an
            optimizer that does not train the Layer; a Layer that cannot be traced.
        TypeError: Something that is not a Program, Layer, scope or function.

    Example:
        >>> pruner = UnstructuredPruner(program, mode="ratio", ratio=0.55)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     exe.run(program, feed=batch, fetch_list=[loss])
        ...     pruner.step()
    """

    def __init__(
        self,
        program: Any,
        mode: str | None = None,
        ratio: float = paddleslim.RATIO,
        threshold: float = paddleslim.THRESHOLD,
        scope: Any = None,
        place: Any = None,
        prune_params_type: str | None = None,
        skip_params_func: Callable[[Any], Iterable[str]] | None = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] | None = None,
        *,
        select: Select | None = None,
        criterion: Criterion | None = None,
        pattern: Pattern | str | None = None,
        allocation: Allocation | None = None,
        schedule: Schedule | None = None,
        rules: Rules | None = None,
        optimizer: Any = None,
        input_spec: Sequence[Any] | None = None,
    ) -> None:
        self._graph = open_any(program, scope, place, optimizer=optimizer, input_spec=input_spec)
        if isinstance(self._graph, LayerGraph):
            adopt()
            check_joined()
        self.scope, self.place = self._graph.scope, self._graph.place
        plan = make_plan(
            self._graph,
            mode=mode,
            ratio=ratio,
            threshold=threshold,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
            select=select,
            criterion=criterion,
            pattern=pattern,
            allocation=allocation,
            schedule=schedule,
            rules=rules,
        )
        self.steps = 0
        self._applied = 0.0  # the sparsity asked for at the last update
        self._updates = 0
        self._told: tuple[float, ...] | None = None  # the target, and the share of all weights, that has been logged
        self._threshold = float(threshold) if mode == "threshold" else 0.0
        self._masked = MaskedLayers(self._graph, plan)
        self._watch_ahead(-1)

    # -- in the training loop

    def step(self) -> None:
        """Count one optimizer step, and update the masks if that is due.

        A criterion that watches gradients or outputs begins in time before the first update; where it cannot, the
        update waits until it has seen its batches.

        Raises:
            ValueError: A weight is NaN or has no value; masks, weights and the count stay as they were.
        """
        self._attach(thoroughly=self._plan.due(self.steps, self._applied))
        for gathering in self._plan.gatherings:
            gathering.count()
        if self._plan.due(self.steps, self._applied) and self._is_informed():
            self._update_masks(self._plan.asked(self.steps))
        self.steps += 1
        self._watch_ahead(self.steps - 1)  # which asks the user's parts: the step itself is done
        distributed.progress(self.steps)

    def update_params(self) -> None:
        """Set the masked weights, and what is tied to them, to zero in the scope: needed after weights were loaded."""
        if self._apply():  # masks were loaded with the weights
            self._applied = self.sparsity()

    def watch(self, optimizer: Any) -> None:
        """Let every `step` and `minimize` of an nn.Layer's optimizer leave the pruned weights exactly zero.

        There may be several, each given by a call of its own. What none of them trains when the first update is due
        stays as it is.

        Args:
            optimizer: A paddle.optimizer.Optimizer made with `parameters`. Its `state_dict()` and copies of it know
                nothing of masks.

        Raises:
            TypeError: It is no such optimizer, or a static Program is pruned, which needs none.
            ValueError: It trains no weight of the Layer.
        """
        graph = self._of_layer("watch")
        graph.watch(optimizer)
        graph.wrap()

    def unwatch(self) -> None:
        """Leave the optimizers of an nn.Layer as they were; masks hold after `step()` and `update_params()` then."""
        self._of_layer("unwatch").unwatch()

    def tie(self, shadow: Any, param: str) -> None:
        """Keep a shadow of a weight (a moving average, a master weight) exactly as sparse as the weight.

        Args:
            shadow: A persistable variable of the Program with the param's shape, or its name; with an nn.Layer, a
                Tensor. Master weights of a watched optimizer are known without.
            param: Name of a pruned param.

        Raises:
            ValueError: The param is not pruned, or the Program has no such variable of that shape.
        """
        owner = next((p for p in self._params if p.name == param), None)
        if owner is None:
            raise ValueError(f"`param` must name a pruned param, got {param!r}; explain() lists them.")
        name, value = self._graph.shadow(shadow)
        if value is None or tuple(value.shape) != owner.shape:
            found = "which it does not have" if value is None else f"which has shape {list(value.shape)}"
            raise ValueError(
                f"`shadow` must be a persistable variable of the Program with shape {list(owner.shape)}, "
                f"got {name!r}, {found}."
            )
        self._masked.tie(name, owner)
        self._attach()

    # -- what was asked, and what came of it

    @property
    def ratio(self) -> float:
        """The sparsity asked for now. Once assigned, it is asked for from the next step on, whatever the schedule."""
        return self._plan.asked(max(self.steps - 1, 0))

    @ratio.setter
    def ratio(self, ratio: float) -> None:
        fraction("ratio", ratio)
        if self._by_threshold:
            raise ValueError('`ratio` cannot be assigned in mode "threshold": the threshold decides what is pruned.')
        if ratio < self._applied:
            _log.warning("ratio %g is below the %g pruned already; pruned weights stay pruned", ratio, self._applied)
        self._masked.plan = replace(self._plan, schedule=Constant(float(ratio)))

    @property
    def threshold(self) -> float:
        """In mode "threshold" the one given; else the score at which the last update cut, the highest of all layers."""
        return self._threshold

    @property
    def masks(self) -> dict[str, str]:
        """Param name -> name of its mask, a persistable variable of the Program. A Layer's are in `state_dict()`."""
        return {param.name: param.mask_name for param in self._params}

    @property
    def params(self) -> list[Param]:
        """The pruned params, in the order in which equal scores fall."""
        return list(self._params)

    @property
    def layers(self) -> list[PrunedLayer]:
        """The pruned params again, each with its criterion and pattern."""
        return list(self._plan.layers)

    @property
    def skip_params(self) -> set[str]:
        """Names of the params that are not pruned; `explain()` says why."""
        return {verdict.param.name for verdict in self._plan.verdicts if not verdict.pruned}

    @property
    def no_grad_set(self) -> set[Any]:
        """For `minimize(loss, no_grad_set=pruner.no_grad_set)`: empty, since masks take no gradient anyway."""
        return set()

    def sparsity(self) -> float:
        """Fraction of the selected weights that the masks hold at zero. Costs nothing.

        `explain()` says which weights are not selected, and `sparsity_report` how many of all these are; what nobody
        asked to leave out was logged when the pruner was made.
        """
        return self._masked.sparsity

    def pruned_by_layer(self) -> dict[str, int]:
        """Weights that the masks hold at zero, by param name. Costs nothing."""
        return {param.name: int(n) for param, n in zip(self._params, self._masked.pruned)}

    def kept_magnitude_by_layer(self) -> dict[str, float]:
        """Sum of |w| over the weights that the masks keep, by param name; computed on the device."""
        return {param.name: float(n) for param, n in zip(self._params, self._masked.kept_magnitude())}

    @property
    def target(self) -> float:
        """The sparsity that the schedule ends with; of a schedule that does not say, the one of the present step.

        0 in mode "threshold", which asks for no sparsity.
        """
        if self._by_threshold:
            return 0.0
        return self._plan.asked(self.steps) if self._plan.target is None else self._plan.target

    def target_reached(self) -> bool:
        """Whether the target has been applied; with a threshold, whether any update was made.

        In the selected weights: if others stay dense that nobody asked to leave, the log says which part of all these
        are when the target is reached; or, where its masks were loaded, when the pruner is saved or a model exported.
        """
        return self._updates > 0 if self._by_threshold else self._applied >= self.target

    def tell_share(self) -> None:
        """Log in which part of all weights the target is reached, once for each target; nothing before it is."""
        told = (self.target, *share(self._plan.verdicts))
        if self.target and self.target_reached() and self._told != told:
            tell_share(self._plan.verdicts, self.target)
            self._told = told

    def explain(self) -> report.Explanation:
        """Every parameter with its role, and why it is or is not pruned. Prints as a table."""
        return report.Explanation(self._plan.verdicts)

    def allocation_to_yaml(self, path: StrPath) -> None:
        """Write the sparsity that each layer has now, to be edited and read again as `PerLayer.from_yaml(path)`."""
        found = {p.name: round(int(n) / p.size, 9) for p, n in zip(self._params, self._masked.pruned)}
        write_yaml(path, found, f"sparsity per layer, found by {self!r}")

    # -- further methods of PaddleSlim's pruner

    def update_threshold(self) -> float:
        """Find the threshold that the asked sparsity means for the present weights; nothing is pruned by that."""
        if not self._by_threshold:
            if not all(gathering.is_full for gathering in self._plan.gatherings):
                raise ValueError(
                    "the criterion has not seen its batches yet, so there is no threshold; train on, and "
                    "call step() after each batch."
                )
            self._cut_at(self._masked.threshold(self._plan.asked(self.steps), step=self.steps))
        return self._threshold

    def set_static_masks(self) -> None:
        """Take the zeros that the weights have now as masks: for a pruned model that came without its masks.

        A layer that is zero altogether will never train again; a warning names it.
        """
        self._attach()
        self._masked.take_zeros()
        self._applied, self._updates = self.sparsity(), self._updates + 1

    def summarize_weights(self, program: Any = None, ratio: float = 0.1) -> float:
        """The threshold that would prune `ratio` of the weights: round(ratio * n) of them have a smaller |w|.

        Args:
            program: Default: the pruner's, with its selection; of another Program all prunable weights count.
            ratio: In [0, 1].
        """
        fraction("ratio", ratio)
        own = program is None or program is self._graph.program
        graph = self._graph if own else open_any(program, self.scope, self.place)
        params = self._params if own else [param for param in graph.params() if param.is_weight]
        return report.magnitude_threshold(graph, params, ratio)

    def sparse_by_layer(self, program: Any = None) -> dict[str, float]:
        """Fraction of zeros of every weight of a Program (default: the pruner's), by name; also of what cannot be
        followed to its op."""
        return report.sparsity_by_layer(program or self._graph.program, self.scope)

    @staticmethod
    def total_sparse(program: Any, scope: Any = None) -> float:
        """Fraction of zeros in all weights of a Program; norms and biases do not count, but what cannot be followed
        to its op does."""
        return report.sparsity_of(program, scope, report.may_be_weight)

    @staticmethod
    def total_sparse_conv1x1(program: Any, scope: Any = None) -> float:
        """Fraction of zeros in the 1x1 conv2d weights of a Program; 0 if it has none."""
        return report.sparsity_of(program, scope, lambda param: param.is_conv1x1)

    # -- state

    def load_weights(self, path: StrPath, *, partial: bool = False) -> list[str]:
        """Load weights over which no pruner was when they were saved, and apply the masks.

        `paddle.static.load` wants every persistable variable of the Program in the file, and refuses a dense checkpoint
        once the Program has masks.

        Args:
            path: a `.pdparams` file, with or without its ending.
            partial: Load what fits, as when the head has other classes than the checkpoint; a warning names the rest.

        Returns:
            Names of the params that were not loaded, and are as before; empty unless `partial`.

        Raises:
            ValueError: The file lacks a param of the Program, or has it in another shape; with `partial`, all of them.
                Nothing is changed.
        """
        partial = flag("partial", partial)
        left = self._graph.load_params(path, partial=partial)
        notices.misfits(left, f"params of {path}")
        self.update_params()
        return list(left)

    def state_dict(self) -> dict[str, Any]:
        """Masks (param name -> bool array), what criteria have gathered, and progress."""
        return {
            **({} if self._masked.inputs is None else {"inputs": self._masked.inputs}),
            "steps": self.steps,
            "applied": self._applied,
            "updates": self._updates,
            "threshold": self._threshold,
            "schedule": name_of(self._plan.schedule),
            "dtypes": {param.name: param.dtype for param in self._params},
            "masks": {param.name: self._graph.mask(param) for param in self._params},
            "gathered": [gathering.state() for gathering in self._plan.gatherings],
        }

    def load_state_dict(self, state: Mapping[str, Any], *, partial: bool = False) -> list[str]:
        """Go on from a state: set the masks, apply them to the stored weights, and gather on.

        The schedule stays that of this pruner; the log warns if the state was saved under another one. Where another
        pruner works on a param too, what the two have pruned until now stays pruned.

        Args:
            state: what `state_dict()` gave.
            partial: Take the masks that fit and leave the others as they are; a warning names them. The next update
                then asks for the sparsity anew, and criteria that gather begin again.

        Returns:
            Names of the params, here or in the state, whose masks were not loaded; empty unless `partial`.

        Raises:
            ValueError: The state is of other params; with `partial`, of none of them. Nothing is changed.
        """
        partial = flag("partial", partial)
        progress, masks = checkpoint.progress_of(state), checkpoint.masks_of(state)
        if isinstance(self._graph, LayerGraph) and state.get("inputs") is not None:
            self._graph.recall(state["inputs"])
        self._attach()
        left = checkpoint.misfits(state, masks, self._params)
        if not partial or not any(param.name not in left for param in self._params):
            checkpoint.check_fit(state, masks, self._params)
        gathered = [] if left else list(zip(self._plan.gatherings, state.get("gathered", [])))
        for gathering, sums in gathered:
            gathering.check_state(sums)
        self._masked.set({name: mask for name, mask in masks.items() if name not in left})
        self.steps, self._applied, self._updates, self._threshold = progress
        for gathering, sums in gathered:
            gathering.restore(sums)
        self._apply()
        if left:
            notices.misfits(left, "masks")
            self._applied = min(self._applied, self.sparsity())
        if state.get("schedule", name_of(self._plan.schedule)) != name_of(self._plan.schedule):
            _log.warning(
                "the state was saved under the schedule %s; this pruner goes on with %s",
                state["schedule"],
                name_of(self._plan.schedule),
            )
        return list(left)

    def save(self, path: StrPath) -> None:
        """Write masks and progress into one file (safetensors); a crash leaves the old file or the new one."""
        patterns = {layer.param.name: repr(layer.pattern) for layer in self._plan.layers}
        self.tell_share()
        checkpoint.save(path, self.state_dict(), about={"pruner": repr(self), "patterns": json.dumps(patterns)})

    def load(self, path: StrPath, *, partial: bool = False) -> list[str]:
        """Go on from a saved file, over weights that are dense, pruned or trained further.

        Bring the weights back first, with `paddle.static.load` or `load_weights`. If the criterion gathers gradients or
        outputs, `paddle.static.load` belongs before the pruner is made: it refuses a Program whose accumulators are not
        in the checkpoint.

        Args:
            path: The file.
            partial: As for `load_state_dict`.

        Returns:
            Names of the params whose masks were not loaded; empty unless `partial`.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a file, damaged, of a newer version, or of another model; nothing is changed.
        """
        state = checkpoint.load(path)
        try:
            return self.load_state_dict(state, partial=partial)
        except ValueError as error:
            raise ValueError(f"{path} cannot be loaded here: {error}") from error

    def __repr__(self) -> str:
        parts = {
            "criterion": _all(layer.criterion for layer in self._plan.layers),
            "pattern": _all(layer.pattern for layer in self._plan.layers),
            "allocation": self._plan.allocation,
        }
        if not self._by_threshold:
            parts["schedule"] = name_of(self._plan.schedule)
        said = ", ".join(f"{name}={part}" for name, part in parts.items())
        pruned, whole = share(self._plan.verdicts)
        of = f" of {whole}" if pruned < whole else ""
        return f"{type(self).__name__}({said}, params={len(self._params)}, weights={pruned}{of})"

    # -- at work

    @property
    def _plan(self) -> PruningPlan:
        return self._masked.plan

    @property
    def _params(self) -> list[Param]:
        return self._masked.params

    @property
    def _by_threshold(self) -> bool:
        return isinstance(self._plan.allocation, Threshold)

    def _of_layer(self, method: str) -> LayerGraph:
        if not isinstance(self._graph, LayerGraph):
            raise TypeError(f"`{method}` is for an nn.Layer; a static Program holds its optimizer and masks itself.")
        return self._graph

    def _attach(self, *, thoroughly: bool = False) -> None:
        """Let the Program end with the masks, whatever has come to it since."""
        if self._masked.attach(begun=self._updates > 0, thoroughly=thoroughly):
            self._watch_ahead(self.steps - 1)

    def _apply(self) -> bool:
        """Apply the masks; whether they hold another number of units than was known."""
        self._attach(thoroughly=True)
        return self._masked.apply()

    def _update_masks(self, sparsity: float) -> None:
        was_reached = self.target_reached()
        self._cut_at(self._masked.prune(sparsity, step=self.steps))
        self._applied, self._updates = sparsity, self._updates + 1
        if self.target_reached() and not self._by_threshold:
            for gathering in self._plan.gatherings:
                gathering.release()
            if not was_reached:
                self.tell_share()

    def _cut_at(self, threshold: float | None) -> None:
        """Remember the score of a cut; where nothing fell, the one before stays."""
        if threshold is not None:
            self._threshold = threshold

    def _watch_ahead(self, step: int) -> None:
        """Attach what has to be watched from the next step on, so that its batches are there when an update is due."""
        for gathering in self._plan.gatherings:
            due = self._plan.due(step + gathering.needs, self._applied)
            if due and not gathering.attached and gathering.can_attach:
                gathering.attach()

    def _is_informed(self) -> bool:
        """Whether criteria that watch have seen their number of batches."""
        for gathering in self._plan.gatherings:
            gathering.check_gradients()
        return all(gathering.is_full for gathering in self._plan.gatherings)


def _all(parts: Iterable[Any]) -> str:
    return " | ".join(dict.fromkeys(map(name_of, parts)))
