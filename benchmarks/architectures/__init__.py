# SPDX-License-Identifier: Apache-2.0
"""Nets that people prune, written from `paddle.nn` after their papers and exports; `coverage.py` measures them."""

from .registry import Architecture, Input, architectures

__all__ = ["Architecture", "Input", "architectures"]
