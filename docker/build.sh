#!/usr/bin/env bash
# Build the images. BASE_IMAGE is the TensorFlow base; GPU_BASE_IMAGE, when it is set, the one of another train image for
# GPUs. Behind a proxy CA_CERT is its certificate; PIP_CONF is a pip.conf for a mirror, which may name the certificate as
# /run/secrets/ca.crt. Neither gets into a layer.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
version=${DOGBREED_VERSION:-0.1.0}
secrets=()
if [ -n "${CA_CERT:-}" ]; then
  secrets+=(--secret "id=ca,src=$CA_CERT")
  if [ -z "${PIP_CONF:-}" ]; then
    PIP_CONF=$(mktemp)
    trap 'rm -f "$PIP_CONF"' EXIT
    printf '[global]\ncert = /run/secrets/ca.crt\n' > "$PIP_CONF"
  fi
fi
[ -z "${PIP_CONF:-}" ] || secrets+=(--secret "id=pip,src=$PIP_CONF")

build() {  # build NAME DOCKERFILE OPTIONS...
  name=$1 file=$2
  shift 2
  echo "dogbreed/$name:$version" >&2
  DOCKER_BUILDKIT=1 "$docker" build ${secrets[@]+"${secrets[@]}"} --build-arg "VERSION=$version" \
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    -f "docker/$file.Dockerfile" -t "dogbreed/$name:$version" "$@" .
}

base=(--build-arg "BASE_IMAGE=${BASE_IMAGE:-tensorflow/tensorflow:2.21.0}")
build preprocess jobs --target preprocess "${base[@]}"
build train jobs --target train "${base[@]}"
[ -z "${GPU_BASE_IMAGE:-}" ] || build train-gpu jobs --target train --build-arg "BASE_IMAGE=$GPU_BASE_IMAGE"
build mlflow mlflow ${MLFLOW_BASE_IMAGE:+--build-arg "BASE_IMAGE=$MLFLOW_BASE_IMAGE"}
