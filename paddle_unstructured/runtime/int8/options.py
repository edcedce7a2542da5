# SPDX-License-Identifier: Apache-2.0
"""What a user may ask of int8."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Mapping, Sequence

from ...arguments import StrPath, flag, names, number, one_of, path, wrong_kind
from ..precision.samples import Data, check_samples
from .calibrators import CALIBRATORS

BEST = "best"
MOST_ERROR = 0.1


@dataclass(frozen=True)
class Int8:
    """How `convert` quantizes a model.

    Args:
        data: Calibration data, some hundred samples as the model sees them in use: an array [n, ...], batches of it, or
            a .npy or .npz file. None if `ranges` say it all.
        calibration: rule by which ranges of activations come from data: "minmax", "percentile" (99.99 %) or "mse"; or
            "best", that of the three with the least error on samples that are held out.
        equalize: Balance weights between layers first (cross-layer equalisation), for nets with ReLU.
        correct_bias: Put what rounding the weights shifts on average back into the biases; needs data.
        ranges: Ranges learned in training: weight -> {"input": [low, high], "output": [low, high]}, or the .json file
            that holds them. They take precedence over data. A weight with {} was left in float32, and its layer stays
            so.
        skip: Names of weights whose layers stay in float32.
        most_error: error of the outputs, ||y8 - y|| / ||y||, that is accepted on samples that are held out, in (0, 1]:
            layers stay in float32 until it is met, those first that add most to it for the time that int8 saves. 1
            for no such rule. None is 0.1 where there are data.
        report: whether the table says what int8 costs layer by layer. Needs data.

    Raises:
        ValueError: An unknown calibration, neither data nor ranges, data without samples, or `equalize` together with
            `ranges`.
        TypeError: Data that are no numbers, or ranges of another kind. What a file holds is looked at by `convert`.

    Example:
        >>> Int8("images.npy", calibration="mse").calibration
        'mse'
    """

    data: Data | None = None
    calibration: str = BEST
    equalize: bool = False
    correct_bias: bool = True
    ranges: StrPath | Mapping[str, Mapping[str, Sequence[float]]] | None = None
    skip: Sequence[str] = ()
    most_error: float | None = None
    report: bool = False

    def __post_init__(self) -> None:
        one_of("calibration", self.calibration, (BEST, *CALIBRATORS))
        if self.data is None and self.ranges is None:
            raise ValueError("`data` must be given (samples to calibrate on), or `ranges` from training; got neither.")
        if self.data is not None:
            check_samples(self.data)
        if self.ranges is not None and not isinstance(self.ranges, Mapping):
            if not isinstance(self.ranges, (str, os.PathLike)):
                raise wrong_kind("ranges", "ranges by weight, or the .json file that holds them", self.ranges)
            path("ranges", self.ranges)
        flag("equalize", self.equalize)
        flag("correct_bias", self.correct_bias)
        if self.equalize and self.ranges is not None:
            raise ValueError(
                "`equalize` must be left out with `ranges`, which were learned for the weights as they are."
            )
        names("skip", self.skip)
        flag("report", self.report)
        if self.most_error is not None:
            number("most_error", self.most_error, above=0, most=1)
        if self.data is None and (self.report or self.most_error is not None):
            raise ValueError("`report` or `most_error` measures on `data`, and there are none; give samples.")


def from_files(
    files: Sequence[str],
    *,
    calibration: str | None = None,
    equalize: bool = False,
    skip: Sequence[str] | None = None,
    most_error: float | None = None,
    report: bool = False,
) -> Int8:
    """As the command line asks for it: a file of data, or one of learned ranges (.json), or both."""
    ranges = [file for file in files if file.endswith(".json")]
    data = [file for file in files if file not in ranges]
    if not files:
        raise ValueError(
            "--int8 needs --calibrate DATA: samples of the model's input, .npy, .npz or a folder of images."
        )
    if len(data) > 1 or len(ranges) > 1:
        raise ValueError(f"--calibrate takes one file of data and one of ranges (.json), got {', '.join(files)}.")
    return Int8(
        data[0] if data else None,
        calibration=calibration or BEST,
        equalize=equalize,
        skip=skip or (),
        most_error=most_error,
        report=report,
        ranges=ranges[0] if ranges else None,
    )
