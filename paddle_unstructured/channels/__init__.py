# SPDX-License-Identifier: Apache-2.0
"""Who lives and dies together: the channels of all layers through one Program."""
