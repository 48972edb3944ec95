#!/usr/bin/env bash
# Build the images. BASE_IMAGE is the base of the job images; GPU_BASE_IMAGE, when it is set, that of another train image
# for GPUs. Behind a proxy CA_CERT is its certificate; PIP_CONF is a pip.conf for a mirror, which may name the
# certificate as /run/secrets/ca.crt. Neither gets into a layer.
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

build() {  # build NAME DOCKERFILE BASE OPTIONS...
  name=$1 file=$2 base=$3
  shift 3
  echo "dogbreed/$name:$version" >&2
  DOCKER_BUILDKIT=1 "$docker" build ${secrets[@]+"${secrets[@]}"} --build-arg "BASE_IMAGE=$base" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    -f "docker/$file.Dockerfile" -t "dogbreed/$name:$version" "$@" .
}

slim=python:3.11-slim-bookworm
build preprocess jobs "${BASE_IMAGE:-$slim}" --target preprocess
build train jobs "${BASE_IMAGE:-$slim}" --target train
[ -z "${GPU_BASE_IMAGE:-}" ] || build train-gpu jobs "$GPU_BASE_IMAGE" --target train --build-arg DEVICE=gpu
build mlflow mlflow "${MLFLOW_BASE_IMAGE:-$slim}"
