# SPDX-License-Identifier: Apache-2.0
"""Other systems' words, turned into parts: PaddleSlim's arguments, NNI's config lists."""
