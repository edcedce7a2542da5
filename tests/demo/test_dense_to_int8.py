# SPDX-License-Identifier: Apache-2.0
"""From a dense net to a sparse int8 one in one script, and the table at its end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, environment

sys.path.insert(0, str(ROOT / "benchmarks"))

from int8 import Stage, table, timed  # noqa: E402


def test_the_table_counts_sizes_and_ratios_of_paired_times(tmp_path):
    (tmp_path / "a").write_bytes(bytes(2_000_000))
    (tmp_path / "b").write_bytes(bytes(500_000))
    dense = Stage("dense fp32", "ONNX Runtime", None, [tmp_path / "a"], right=90, seconds=[0.004, 0.006, 0.008])
    int8 = Stage("sparse int8", "ours", None, [tmp_path / "a", tmp_path / "b"], 89, [0.001, 0.002, 0.004])
    assert table([dense, int8], 100, 1).splitlines()[2:] == [
        "| dense fp32 | ONNX Runtime | 90.00 % | 2.00 MB | 6.000 ms | 1.00 |",
        "| sparse int8 | ours | 89.00 % | 2.50 MB | 2.000 ms | 3.00 |",  # of 4, 3 and 2 x
    ]


def test_a_run_is_timed_three_times_and_the_best_counts():
    seen = []
    assert timed(seen.append, 7) >= 0 and seen == [7, 7, 7]


def test_calibration_images_are_the_first_training_images_as_the_net_sees_them(tmp_path):
    out = tmp_path / "images.npy"
    line = [sys.executable, ROOT / "demo" / "calibration_images.py", out, "--data", "digits", "--count", "5"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
    from data import load_source

    expected, _ = load_source("digits", None, "train").fetch(np.arange(5), None)
    assert (np.load(out) == expected).all() and expected.shape == (5, 1, 8, 8) and done.stdout.startswith("5 training")


@pytest.mark.slow
def test_the_quick_script_goes_from_a_dense_net_to_a_sparse_int8_one(tmp_path):
    pytest.importorskip("paddle2onnx")
    line = ["bash", ROOT / "scripts" / "dense_to_int8.sh", "--quick"]
    env = {**environment(), "RUNS": str(tmp_path), "QAT_EPOCHS": "1"}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [text.split(" | ") for text in done.stdout.splitlines() if text.startswith(("| dense", "| sparse"))]
    assert [row[0].strip("| ") for row in rows] == [
        "dense fp32",
        "dense int8",
        "sparse fp32",
        "sparse int8 (calibrated)",
        "sparse int8 (quantization_aware)",
    ]
    top1 = [float(row[2].split()[0]) for row in rows]
    size = [float(row[3].split()[0]) for row in rows]
    assert min(top1) > 75 and top1[3] > top1[2] - 3 and size[3] < size[2] / 2 and size[3] < size[1]
    out = tmp_path / "dense_to_int8_quick"
    assert (out / "quantization_aware" / "inference" / "model.ranges.json").is_file() and Path(out, "pruned").is_dir()
