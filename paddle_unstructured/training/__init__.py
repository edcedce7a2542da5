# SPDX-License-Identifier: Apache-2.0
"""What changes the training Program: rounding as int8 kernels will, a teacher, the best recipe known."""
