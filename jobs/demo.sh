#!/bin/sh
# The whole way on drawn photos, from an archive to a registered model; called by `make demo`.
set -eu
run() { echo "+ python -m $*" >&2; "$BIN/python" -m "$@"; }

run jobs.fetch --source sketches --raw "$DEMO/raw"
run jobs.preprocess --source sketches --raw "$DEMO/raw" --out "$DEMO/dogs-64" --size 64
run jobs.train --data "$DEMO/dogs-64" --recipe simple-64 --epochs 30 --batch-size 16 \
  --set augment.cutmix=0 --set patience=30  # 20 steps an epoch and 40 validation photos: short and noisy
run jobs.evaluate --data "$DEMO/dogs-64" --split test

echo "The model is registered as models:/dogbreed@candidate. Look at it with: make ui, then http://localhost:5000"
