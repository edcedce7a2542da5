# SPDX-License-Identifier: Apache-2.0
"""The parts of runtime.py: rivals, models, measuring, tables."""
