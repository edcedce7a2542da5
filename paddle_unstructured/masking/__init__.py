# SPDX-License-Identifier: Apache-2.0
"""What one update of the masks does: a pruning plan, worked out once, and its execution on the device."""
