# SPDX-License-Identifier: Apache-2.0
"""What `coverage.py` does with each net: save, convert, compare, time, tell."""
