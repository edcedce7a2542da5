# SPDX-License-Identifier: Apache-2.0
"""What pruning does during training, as scalars for VisualDL and TensorBoard."""

from __future__ import annotations

from typing import Any

from ..arguments import has_method, part, whole


class ScalarLog:
    """Write sparsity, threshold, mask churn and kept magnitude every n steps.

    Of all pruned weights together, at step `pruner.steps`:

    - `pruning/sparsity`: weights that the masks hold at zero / weights.
    - `pruning/threshold`: `pruner.threshold`.
    - `pruning/mask_churn`: mask entries that changed since the last record / mask entries; since this object was made,
      for the first. Masks only grow, so this is what was newly pruned; loading a state may also give weights back, and
      then only the net change counts.
    - `pruning/kept_magnitude`: mean of |w| over the weights that the masks keep; 0 if none are kept.

    And of each param: `sparsity/<param>`, `mask_churn/<param>`, `kept_magnitude/<param>`. Tags are always written in
    the same order. Between records `log()` compares two numbers; for a record the device sums |w| per layer, and only
    these sums come to the host.

    Args:
        pruner: pruner whose masks are watched. If it resumes, load its state first.
        writer: Any object with `add_scalar(tag, value, step)`: `visualdl.LogWriter`, `tensorboard.summary.Writer`,
            `SummaryWriter` of tensorboardX or of torch. It is yours to flush and close. With several ranks, give one
            to rank 0 only.
        every: Steps between records, >= 1. Records fall on multiples of it, after a resume too.

    Raises:
        TypeError: `writer` cannot add scalars.
        ValueError: `every` is no positive whole number.

    Example:
        >>> log = ScalarLog(pruner, visualdl.LogWriter("log"), every=100)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     exe.run(program, feed=batch, fetch_list=[loss])
        ...     pruner.step()
        ...     log.log()
    """

    def __init__(self, pruner: Any, writer: Any, *, every: int = 100) -> None:
        part("pruner", pruner, ["pruned_by_layer"], rule="a pruner")
        if not has_method(writer, "add_scalar"):
            raise TypeError(
                "`writer` must have a method add_scalar(tag, value, step), got "
                f"{type(writer).__name__}; give a visualdl.LogWriter or a tensorboard.summary.Writer."
            )
        self._pruner, self._writer = pruner, writer
        self._every = whole("every", every, least=1, rule="a whole number of steps >= 1")
        self._last = pruner.pruned_by_layer()

    def log(self) -> bool:
        """Write a record if one is due; call it after each `pruner.step()`. Returns whether it was written."""
        if self._pruner.steps % self._every:
            return False
        self.write()
        return True

    def write(self) -> None:
        """Write a record now, due or not: at the end of training, say."""
        sizes = {param.name: param.size for param in self._pruner.params}
        pruned, magnitude = self._pruner.pruned_by_layer(), self._pruner.kept_magnitude_by_layer()
        changed = {name: abs(count - self._last[name]) for name, count in pruned.items()}
        self._last = pruned
        weights, zeros = sum(sizes.values()), sum(pruned.values())
        self._add("pruning/sparsity", zeros / weights)
        self._add("pruning/threshold", self._pruner.threshold)
        self._add("pruning/mask_churn", sum(changed.values()) / weights)
        self._add("pruning/kept_magnitude", _mean(sum(magnitude.values()), weights - zeros))
        for name, size in sizes.items():
            self._add(f"sparsity/{name}", pruned[name] / size)
            self._add(f"mask_churn/{name}", changed[name] / size)
            self._add(f"kept_magnitude/{name}", _mean(magnitude[name], size - pruned[name]))

    def _add(self, tag: str, value: float) -> None:
        # By place, since each writer has its own names for the value and the step.
        self._writer.add_scalar(tag, value, self._pruner.steps)


def _mean(total: float, count: int) -> float:
    return total / count if count else 0.0
