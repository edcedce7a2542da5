#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# MobileNetV1: prune 75 % of the 1x1 convolutions in blocks of two output channels, step by step.
#   bash scripts/train_block_2x1.sh IMAGENET_DIR --pretrained_model runs/mobilenet_dense [more train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(
  --pruning_strategy gmp --ratio 0.75 --prune_params_type conv1x1_only --sparse_block 2 1
  --num_epochs 108 --pruning_steps 100 --initial_ratio 0.15
)
train_mobilenet mobilenet_block_2x1 "$@"
