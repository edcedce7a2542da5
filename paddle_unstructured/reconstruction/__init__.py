# SPDX-License-Identifier: Apache-2.0
"""Pruning without training: what the kept weights should become, found layer by layer from some unlabelled inputs."""
