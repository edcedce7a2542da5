# SPDX-License-Identifier: Apache-2.0
"""What `Session` leaves to ONNX Runtime of a model in parts, as ONNX models: `model.to_onnx_model` is the way in."""
