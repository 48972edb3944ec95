#!/usr/bin/env bash
# Make stand-ins for the base images on a host without a container registry, under the upstream names, from Debian's,
# PyPI's and Go's packages. They keep the part of the upstream images' contract that this repository uses; for tests
# only. Needs root, an engine, mmdebstrap and Go. What is there already, stand-in or real, is left alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
docker=${DOCKER:-docker}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() { ! "$docker" image inspect "$1" >/dev/null 2>&1; }

debian() {  # debian NAME SUITE PACKAGES: import a minimal Debian as image NAME
  missing "$1" || return 0
  mmdebstrap --quiet --variant=minbase --include="$3" "$2" "$work/root.tar"
  "$docker" import "$work/root.tar" "$1" >/dev/null
  rm "$work/root.tar"
}

build() {  # build NAME RECIPE: build stand-in NAME from stand_ins/RECIPE.Dockerfile
  missing "$1" || return 0
  echo "stand-in for $1" >&2
  DOCKER_BUILDKIT=1 "$docker" build --quiet --secret id=ca,src="${CA_CERT:-/etc/ssl/certs/ca-certificates.crt}" \
    -f "$here/stand_ins/$2.Dockerfile" -t "$1" "${3:-$here/stand_ins}" >/dev/null
}

debian dogbreed-stand-in:bookworm bookworm python3,python3-pip,python3-venv,ca-certificates,wget
debian dogbreed-stand-in:trixie trixie postgresql-17
build python:3.11-slim-bookworm python
build postgres:17-trixie postgres
if missing ghcr.io/versity/versitygw:v1.8.0; then
  CGO_ENABLED=0 GOBIN=$work go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
  build ghcr.io/versity/versitygw:v1.8.0 versitygw "$work"
fi
