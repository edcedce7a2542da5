# SPDX-License-Identifier: Apache-2.0
"""Saved models of any tensors, written without Paddle: a `.json` with parameters only, and its `.pdiparams`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Mapping

import numpy as np

from paddle_unstructured.formats import pdiparams

Tensors = Mapping[str, "tuple[str, np.ndarray]"]  # name -> (dtype of Paddle, array)


def write_model(prefix: Path, tensors: Tensors) -> str:
    """Write both files; returns the prefix."""
    ops = [
        {
            "#": "p",
            "A": [0, 1, 1, name],
            "OA": [1, 0, 1],
            "O": {
                "%": i,
                "TT": {
                    "#": "0.t_dtensor",
                    "D": [{"#": f"0.t_{pdiparams.DTYPES[dtype].word}"}, list(array.shape), "NCHW", [], 0],
                },
            },
        }
        for i, (name, (dtype, array)) in enumerate(tensors.items())
    ]
    prefix.with_suffix(".json").write_text(json.dumps({"program": {"regions": [{"blocks": [{"ops": ops}]}]}}))
    with open(prefix.with_suffix(".pdiparams"), "wb") as stream:
        for name in sorted(tensors):
            pdiparams.write(stream, *tensors[name])
    return str(prefix)


def floats(**arrays: object) -> Tensors:
    """float32 tensors by name."""
    return {name: ("float32", np.asarray(array, np.float32)) for name, array in arrays.items()}
