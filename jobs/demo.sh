#!/bin/sh
# All jobs on a synthetic dataset, from an archive to a registered model; called by `make demo`.
set -eu
run() { echo "+ python -m $*" >&2; "$BIN/python" -m "$@"; }

run jobs.fetch --source synthetic --raw "$DEMO/raw"
run jobs.preprocess --source synthetic --raw "$DEMO/raw" --out "$DEMO/dogs-64" --size 64
run jobs.train --data "$DEMO/dogs-64" --recipe synthetic-64
run jobs.evaluate --data "$DEMO/dogs-64" --split test --promote

echo "The model is registered as models:/dogbreed@champion. Look at it with: make ui, then http://localhost:5000"
