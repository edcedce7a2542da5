# SPDX-License-Identifier: Apache-2.0
"""The runtime on processors that are not here: cross-compiled, and run by an emulator without Python."""
