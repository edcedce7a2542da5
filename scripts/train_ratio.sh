#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# MobileNetV1: prune the smallest 55 % of all weights.
#   bash scripts/train_ratio.sh IMAGENET_DIR --pretrained_model runs/mobilenet_dense [more train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(--pruning_strategy base --pruning_mode ratio --ratio 0.55 --num_epochs 60)
train_mobilenet mobilenet_ratio "$@"
