#!/usr/bin/env bash
# Every command of python -m paddle_unstructured, on the models that scripts/quickstart.sh has made. Writes to $RUNS/tour.
#   bash scripts/tour.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
"$PYTHON" -m pip install --quiet --disable-pip-version-check "$ROOT[compress,html,onnx]"
cd "$RUNS/quickstart" 2>/dev/null || { echo "run scripts/quickstart.sh first" >&2; exit 2; }
rm -rf ../tour && mkdir ../tour

show() {
  echo
  echo "\$ python -m paddle_unstructured $*"
  PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" "$PYTHON" -m paddle_unstructured "$@" || echo "(exit code $?)"
}

show report gmp90/inference
show report gmp90/inference --html -o ../tour/report.html
show check gmp90/inference --sparsity 0.9
show check dense/inference --sparsity 0.5 --params "linear_2.*"
show prune dense/inference --pattern 2:4 --params "linear_.*" -o ../tour/dense24
show check ../tour/dense24 --pattern 2:4 --sparsity 0.5 --params "linear_.*"
show compress gmp90/inference -o ../tour/lenet.pu
show compress gmp90/inference --values bf16 -o ../tour/lenet_bf16.pu
show decompress ../tour/lenet.pu -o ../tour/back/model
show export gmp90/inference --shrink --align-channels 4 -o ../tour/small/model
show export gmp90/inference --to int8 -o ../tour/int8/model
show export gmp90/inference --to onnx -o ../tour/lenet.onnx
show lite gmp90/inference
