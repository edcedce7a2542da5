#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# MobileNetV1: prune every weight below 0.01 in magnitude.
#   bash scripts/train_threshold.sh IMAGENET_DIR --pretrained_model runs/mobilenet_dense [more train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(--pruning_strategy base --pruning_mode threshold --threshold 0.01 --num_epochs 60)
train_mobilenet mobilenet_threshold "$@"
