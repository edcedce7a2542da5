# SPDX-License-Identifier: Apache-2.0
"""What is sparse, for people and machines: tables, JSON, pages, pictures, scalars."""
