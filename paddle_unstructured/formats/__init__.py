# SPDX-License-Identifier: Apache-2.0
"""Files, read and written without Paddle: Paddle's own, checked safetensors, YAML; whole or not there."""
