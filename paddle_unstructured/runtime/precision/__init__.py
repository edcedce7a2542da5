# SPDX-License-Identifier: Apache-2.0
"""What int8 and bfloat16 share: samples, what layers are, weights in words, the error that rounding makes."""
