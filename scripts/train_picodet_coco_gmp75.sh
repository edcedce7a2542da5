#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PicoDet-m on COCO, 320 x 320: prune 75 % of the 1x1 convolutions, step by step in the first 150 of 300 epochs.
#   bash scripts/train_picodet_coco_gmp75.sh COCO_DIR --pretrained_model runs/picodet_coco_dense [more train.py flags]
# Dense first: --pruning_strategy dense --model_path runs/picodet_coco_dense in place of --pretrained_model.
# Published: 30.90 -> 29.40 mAP, with another backbone (ESNet).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(
  --model PicoDet --image_size 320 --batch_size 128 --lr 0.1 --lr_strategy cosine_decay --l2_decay 4e-5
  --pruning_strategy gmp --ratio 0.75 --prune_params_type conv1x1_only
  --num_epochs 300 --stable_epochs 0 --pruning_epochs 150 --tunning_epochs 150 --pruning_steps 300 --initial_ratio 0.15
)
train_published picodet_coco_gmp75 coco "$@"
