"""What the rest of the house knows of a static Program: its params."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

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
        run: How many neighbours along the input axis one product sums over without a seam; 0: all of them.
        through: The op that the param passes on its way to `reader` ("pd_op.split"), casts and reshapes aside.
        broken: Of an "unknown" weight: what makes its zeros others before its op sees them, or "".
    """

    role: str
    reader: str
    output_axis: int | None = None
    input_axis: int | None = None
    groups: int = 1
    run: int = 0
    through: str = ""
    broken: str = ""


@dataclass(frozen=True)
class Param:
    """One parameter of a Program and the part it plays there.

    Attributes:
        name: Its name in the scope.
        shape: As stored.
        dtype: As Paddle writes it, "float32".
        role: One of `WEIGHT_ROLES`, or "bias", "token" (that is joined to activations), "norm scale", "norm bias",
            "norm mean", "norm variance", "norm statistics", "prelu alpha", "scale", "weight scale" (what a weight is
            multiplied by), "unknown", "unused".
        reader: The op that gives it this role, "pd_op.conv2d"; empty if nothing reads it.
        output_axis, input_axis: Which stored axis counts outputs and inputs; None where the role has none. Of an
            embedding that is also multiplied: those of the product.
        groups: Groups of a convolution.
        readings: Of a weight, what every op makes of it that reads it as one.
        through, broken: As for `Role`.
        frozen: Why training leaves it as it is, or "".
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
    frozen: str = ""

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

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


def is_range(name: str) -> bool:
    """Whether a variable holds the range of activations: each rank of a job has seen others."""
    return name.endswith(("_input_range", "_output_range"))
