# SPDX-License-Identifier: Apache-2.0
"""What the rest of the package knows of a static Program or an nn.Layer: its params, and what can be done to them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Hashable, Iterable, Mapping, NamedTuple, Protocol, Sequence

if TYPE_CHECKING:
    import numpy as np
    from paddle import Tensor

    from ..arguments import StrPath

WEIGHT_ROLES = (
    "conv2d",
    "depthwise_conv2d",
    "conv2d_transpose",
    "depthwise_conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "linear",
    "embedding",
    "rnn",
)


class Role(NamedTuple):
    """What one op makes of a param.

    Attributes:
        role, reader, output_axis, input_axis, groups: As for `Param`.
        run: how many neighbours along the input axis one product sums over without a seam; 0: all of them.
        through: op that the param passes on its way to `reader` ("pd_op.split"), casts and reshapes aside.
        broken: what makes the zeros of an "unknown" weight others before its op sees them, or "".
        normed: stored axes along which a weight that is divided by its own norm has several norms,
            so that one of a wholly pruned row is 0. () elsewhere, and where the norm has an epsilon.
    """

    role: str
    reader: str
    output_axis: int | None = None
    input_axis: int | None = None
    groups: int = 1
    run: int = 0
    through: str = ""
    broken: str = ""
    normed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Param:
    """One parameter of a Program or an nn.Layer and the part it plays there.

    Attributes:
        name: name of it in the scope; of a Layer, the one in `state_dict()`.
        shape: shape as stored.
        dtype: dtype as Paddle writes it, "float32".
        role: one of `WEIGHT_ROLES`, or "bias", "token" (that is joined to activations), "norm scale", "norm bias",
            "norm mean", "norm variance", "norm statistics", "prelu alpha", "scale", "weight scale" (what a weight is
            multiplied by), "unknown", "unused".
        reader: op that gives it this role, "pd_op.conv2d"; empty if nothing reads it.
        output_axis, input_axis: stored axes that count outputs and inputs; None where the role has none. Of an
            embedding that is also multiplied: those of the product.
        groups: groups of a convolution.
        readings: what every op makes of a weight that reads it as one.
        through, broken, normed: As for `Role`.
        frozen: why training leaves it as it is, or "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    reader: str = ""
    output_axis: int | None = None
    input_axis: int | None = None
    groups: int = 1
    readings: tuple[Role, ...] = ()
    through: str = ""
    broken: str = ""
    normed: tuple[int, ...] = ()
    frozen: str = ""

    @classmethod
    def of(
        cls, name: str, shape: Sequence[int], dtype: str, role: Role, readings: tuple[Role, ...], *, frozen: str
    ) -> Param:
        """A param of this role, with all that the role says."""
        return cls(
            *(name, tuple(shape), dtype, *role[:5]),
            readings=readings,
            through=role.through,
            broken=role.broken,
            normed=role.normed,
            frozen=frozen,
        )

    @property
    def own_role(self) -> Role:
        """The role as `of` was given it."""
        place = (self.role, self.reader, self.output_axis, self.input_axis, self.groups)
        return Role(*place, through=self.through, broken=self.broken, normed=self.normed)

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def inputs(self) -> int:
        """Number of input channels over all groups; 0 where the role has none."""
        if self.input_axis is None:
            return 0
        of_one_group = self.role in ("conv2d", "depthwise_conv2d", "conv3d")  # a transposed one stores all of them
        return self.shape[self.input_axis] * (self.groups if of_one_group else 1)

    @property
    def is_weight(self) -> bool:
        return self.role in WEIGHT_ROLES

    @property
    def is_unfollowed(self) -> bool:
        """Perhaps a weight: its op is not known, or what is zero in it is not zero there."""
        return self.role == "unknown" and len(self.shape) > 1

    @property
    def is_conv1x1(self) -> bool:
        """A conv2d with a 1x1 kernel in one group; not a depthwise, grouped or transposed one."""
        return self.role == "conv2d" and self.groups == 1 and len(self.shape) == 4 and self.shape[2:] == (1, 1)

    @property
    def mask_name(self) -> str:
        return self.name + "_mask"


def check_prunable(params: Sequence[Param]) -> None:
    """Raise ValueError if a param is one of integers: a quantized weight."""
    for param in params:
        if "int" in param.dtype:
            raise ValueError(
                f"params must be floating point to be pruned, but {param.name} is {param.dtype}; "
                "prune before the weights are quantized, or leave it out."
            )


def is_range(name: str) -> bool:
    """Whether a variable holds the range of activations: each rank of a job has seen others."""
    return name.endswith(("_input_range", "_output_range"))


class Graph(Protocol):
    """What is pruned: a static Program (`PirGraph`) or an nn.Layer (`LayerGraph`).

    Attributes:
        program: What the user gave.
        scope: Where its variables live; None: the Layer holds them.
        place: The device; None: where the Layer's parameters are.
    """

    @property
    def program(self) -> Any: ...
    @property
    def scope(self) -> Any: ...
    @property
    def place(self) -> Any: ...

    def params(self) -> list[Param]:
        """All parameters, in the order in which equal scores fall."""

    def names_of(self, word: Any) -> list[str]:
        """Names of the params that a user means by a name, a variable or a tensor; the word itself if it is none."""

    def key_of(self, param: Param) -> Hashable:
        """What a param's mask is known by to all graphs of the scope."""

    def norm_scale(self, param: Param) -> str | None:
        """Name of the scale of the norm that the layer's output goes into first; None if there is none."""

    # -- masks

    def declare_masks(self, params: Sequence[Param]) -> list[Param]:
        """Give each param a mask, of ones if it has none. Returns the params whose masks stay as they are."""

    def declared_masks(self, params: Sequence[Param]) -> list[str]:
        """Names of the masks that these params have already."""

    def let_go(self, params: Sequence[Param]) -> None:
        """Forget masks that were declared."""

    @property
    def is_attached(self) -> bool:
        """Whether `attach` has seen what trains the weights as it is."""

    def attach(self) -> None:
        """See to it that masks hold after whatever writes weights. Idempotent."""

    def shadow(self, shadow: Any) -> tuple[str, Any]:
        """Name and value of a variable or tensor to be tied to a weight; the value is None if there is none."""

    def tie(self, shadow: str, param: Param) -> bool:
        """Let what follows a weight be masked as the weight is; whether that is new."""

    def mask(self, param: Param) -> np.ndarray:
        """A copy of a mask on the host, bool."""

    def set_mask(self, param: Param, mask: np.ndarray) -> None:
        """Set a mask from a bool array."""

    # -- values

    def persistables(self) -> Mapping[str, Any]:
        """All that is kept from step to step, by name: params, masks, what optimizers keep."""

    def tensors(self, names: Iterable[str]) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Variables as eager tensors on the memory in which they are stored, while no gradients are recorded."""

    def is_initialized(self, name: str) -> bool:
        """Whether a variable has a value."""

    def array(self, name: str) -> np.ndarray:
        """A copy on the host, bfloat16 as float32."""

    def stored(self, name: str) -> np.ndarray:
        """A copy on the host as numpy has it: bfloat16 as its bits, uint16."""

    def store(self, name: str, array: np.ndarray) -> None:
        """Set a variable from what `stored` gave."""

    def load_params(self, path: StrPath, *, partial: bool = False) -> dict[str, str]:
        """Set all params from a `.pdparams` file. Returns why a param was not set, by its name."""
