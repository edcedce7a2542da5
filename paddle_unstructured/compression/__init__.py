# SPDX-License-Identifier: Apache-2.0
"""A saved model as one small file, and back."""
