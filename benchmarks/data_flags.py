# SPDX-License-Identifier: Apache-2.0
"""Which data set of the demo a benchmark looks at."""

from __future__ import annotations

import argparse


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """--data and --data_dir."""
    parser.add_argument("--data", default="fashion_mnist", help="data set of the demo (default: fashion_mnist)")
    parser.add_argument("--data_dir", help="folder with its files; default: where they usually are")
