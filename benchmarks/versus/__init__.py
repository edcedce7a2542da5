# SPDX-License-Identifier: Apache-2.0
"""What the comparisons with PaddleSlim share: its environment, a trainer for both sides, the plan, the tables."""
