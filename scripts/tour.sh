#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command of python -m paddle_unstructured, on the models that scripts/quickstart.sh has made. Writes to runs/tour;
# docs/cli.md shows what it prints.
#   bash scripts/tour.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
"$PYTHON" -m pip install --quiet --disable-pip-version-check -e "$ROOT[cpu,compress,html,onnx]"
cd "$ROOT"
[[ -d runs/quickstart ]] || { echo "run scripts/quickstart.sh first" >&2; exit 2; }
rm -rf runs/tour && mkdir runs/tour

show() {
  echo
  echo "\$ python -m paddle_unstructured $*"
  PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" "$PYTHON" -m paddle_unstructured "$@" || echo "(exit code $?)"
}

show report runs/quickstart/gmp90/inference
show report runs/quickstart/gmp90/inference --html -o runs/tour/report.html
show check runs/quickstart/gmp90/inference --sparsity 0.9
show check runs/quickstart/dense/inference --sparsity 0.5 --params "linear_2.*"
show prune runs/quickstart/dense/inference --pattern 2:4 --params "linear_.*" -o runs/tour/dense24
show check runs/tour/dense24 --pattern 2:4 --sparsity 0.5 --params "linear_.*"
show compress runs/quickstart/gmp90/inference -o runs/tour/lenet.pu
show compress runs/quickstart/gmp90/inference --values bf16 -o runs/tour/lenet_bf16.pu
show decompress runs/tour/lenet.pu -o runs/tour/back/model
show export runs/quickstart/gmp90/inference --shrink --align-channels 4 -o runs/tour/small/model
show export runs/quickstart/gmp90/inference --to int8 -o runs/tour/int8/model
show export runs/quickstart/gmp90/inference --to onnx -o runs/tour/lenet.onnx
show lite runs/quickstart/gmp90/inference
