#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PP-HumanSeg-Lite on portraits: prune 75 % of the 1x1 convolutions, step by step in the first half of the epochs.
#   bash scripts/train_humanseg_gmp75.sh MASKS_DIR --pretrained_model runs/humanseg_dense [more train.py flags]
# Dense first: --pruning_strategy dense --model_path runs/humanseg_dense in place of --pretrained_model.
# Published: 92.87 -> 92.57 mIoU.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(
  --model HumanSeg --batch_size 128 --lr 0.05 --lr_strategy cosine_decay --l2_decay 5e-4
  --pruning_strategy gmp --ratio 0.75 --prune_params_type conv1x1_only
  --num_epochs 108 --pruning_steps 100 --initial_ratio 0.15
)
train_published humanseg_gmp75 masks "$@"
