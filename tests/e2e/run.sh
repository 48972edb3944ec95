#!/usr/bin/env bash
# Build the images and break the compose stack on purpose, on ports and volumes of its own. Needs a container engine;
# where no registry answers, stand-ins for the base images are made first. Options go to pytest, for example -k backup.
set -euo pipefail
cd "$(dirname "$0")/../.."

# a client without the buildx plugin cannot build; Debian's own, of engine 20.10, has its builder inside
DOCKER=${DOCKER:-docker}
if ! "$DOCKER" buildx version >/dev/null 2>&1 && [ -x /usr/bin/docker ]; then DOCKER=/usr/bin/docker; fi
export DOCKER
if ! "$DOCKER" info >/dev/null 2>&1; then
  echo "no container engine answers; start one, for example with: dockerd &" >&2
  exit 69
fi

step() {  # step NAME COMMAND...: run it and say how long it took
  name=$1
  shift
  SECONDS=0
  "$@"
  printf '%4d s  %s\n' "$SECONDS" "$name"
}

bases() {  # pull the base images, or make stand-ins
  for image in python:3.11-slim-bookworm postgres:17-trixie ghcr.io/versity/versitygw:v1.8.0; do
    "$DOCKER" image inspect "$image" >/dev/null 2>&1 || "$DOCKER" pull --quiet "$image" 2>/dev/null || {
      tests/e2e/stand_ins.sh
      return
    }
  done
}

# a secret with a mark that tests/e2e/test_images.py looks for in every layer
marked=$(mktemp)
trap 'rm -f "$marked"' EXIT
CA_CERT=${CA_CERT:-${PIP_CERT:-}}
if [ -n "${PIP_CONF:-}" ]; then
  cat "$PIP_CONF" > "$marked"
else
  printf '[global]\n%s\n' "${CA_CERT:+cert = /run/secrets/ca.crt}" > "$marked"
fi
echo '# canary-of-the-build' >> "$marked"
export PIP_CONF=$marked CA_CERT

step "base images" bases
step "our images" docker/build.sh
if [ -n "$("$DOCKER" image ls --quiet --filter label=dogbreed.stand-in)" ]; then
  echo "Some bases are stand-ins. To remove them afterwards: docker image ls --quiet --filter label=dogbreed.stand-in | xargs docker rmi --force"
fi
"$DOCKER" image ls --format 'table {{.Repository}}\t{{.Tag}}\t{{.Size}}' 'dogbreed/*'
.venv/bin/pytest -m e2e -v --numprocesses 2 --durations=0 --durations-min=1 --timeout 900 --ignore tests/e2e/kubernetes tests/e2e "$@"
