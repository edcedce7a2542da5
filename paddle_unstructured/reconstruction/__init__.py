"""Pruning without training: what the kept weights should become, found layer by layer from some unlabelled inputs."""
