#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# YOLOv3-MobileNetV1 on VOC: prune every weight below 0.01 in magnitude; 150,000 steps of 8 images on VOC 2007 + 2012.
#   bash scripts/train_yolov3_voc_threshold.sh VOC_DIR --pretrained_model runs/yolov3_voc_dense [more train.py flags]
# Dense first: --pruning_strategy dense --model_path runs/yolov3_voc_dense in place of --pretrained_model.
# Published: 76.24 -> 77.21 at 56.5 % zeros (11-point mAP at IoU 0.5; evaluate.py prints COCO's). Theirs varies the size
# of the images from step to step, and mixes two; here it is 416 x 416.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(
  --model YOLOv3 --batch_size 8 --lr 0.001 --lr_strategy piecewise_decay --step_epochs 58 66 --l2_decay 5e-4
  --pruning_strategy base --pruning_mode threshold --threshold 0.01 --num_epochs 73
)
train_published yolov3_voc_threshold voc "$@"
