# SPDX-License-Identifier: Apache-2.0
"""The exact cut: which units fall when layers race for one budget. Ties are broken here, in stored order."""
