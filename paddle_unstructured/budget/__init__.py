# SPDX-License-Identifier: Apache-2.0
"""A budget in milliseconds: which layer to prune how far, so that a net is that fast and loses as little as it can."""
