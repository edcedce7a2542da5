# SPDX-License-Identifier: Apache-2.0
"""Float32 models with weights and activations in bfloat16, for the tiles of AMX."""
