#!/bin/sh
# The whole way on drawn photos, from an archive to a registered model; called by `make demo`.
set -eu
run() { echo "+ python -m $*" >&2; "$BIN/python" -m "$@"; }

run jobs.fetch --source sketches --raw "$DEMO/raw"
run jobs.preprocess --source sketches --raw "$DEMO/raw" --out "$DEMO/dogs-64" --size 64
run jobs.train --data "$DEMO/dogs-64" --recipe sketches-64
run jobs.evaluate --data "$DEMO/dogs-64" --split test --promote

echo "The model is registered as models:/dogbreed@champion. Look at it with: make ui, then http://localhost:5000"
