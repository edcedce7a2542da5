# SPDX-License-Identifier: Apache-2.0
"""What a user may ask of bfloat16."""

from __future__ import annotations

from dataclasses import dataclass

from ..precision.samples import Data, check_samples


@dataclass(frozen=True)
class Bf16:
    """How `convert` rounds a float32 model to bfloat16, for processors with AMX.

    Args:
        data: samples on which the error of the outputs is told, as `Int8` takes them: an array [n, ...], batches of it,
            or a .npy or .npz file. None for random inputs. They change nothing of the model.

    Raises:
        ValueError: Data without samples.
        TypeError: Data that are no numbers. What a file holds is looked at by `convert`.

    Example:
        >>> Bf16("images.npy").data
        'images.npy'
    """

    data: Data | None = None

    def __post_init__(self) -> None:
        if self.data is not None:
            check_samples(self.data)
