# SPDX-License-Identifier: Apache-2.0
"""Sparse int8: weights and activations in int8. `convert(model, out, int8=Int8(data))` is the way in."""
