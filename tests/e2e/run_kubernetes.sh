#!/usr/bin/env bash
# Run the Kubernetes Jobs, and break the cluster on purpose: that of KUBECONFIG, with the project's images in it, or that
# of `make cluster`. Options go to pytest, for example -k workers, or -m e2e for the test of an hour, too.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${KUBECONFIG:-}" ]; then
  tests/e2e/cluster/up.sh
  export KUBECONFIG=${CLUSTER:-$PWD/build/cluster}/kubeconfig
fi
.venv/bin/pytest -m "e2e and not long" -v -s --durations=0 --durations-min=1 tests/e2e/kubernetes "$@"
