#!/usr/bin/env bash
# Install Kueue from the manifests of its module; `make cluster KUEUE=1` calls this.
set -euo pipefail
. "$(dirname "$0")/common.sh"

source=$(cd "$cluster/modules/kueue-$KUEUE_VERSION" && go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)
# its request of 500m does not fit beside the stack on two cores
kube kustomize "$source/config/default" | sed -e "s|image: .*kueue:.*|image: docker.io/dogbreed-cluster/kueue:v$KUEUE_VERSION|" \
  -e 's/imagePullPolicy: Always/imagePullPolicy: Never/' -e 's/cpu: 500m/cpu: 10m/' | kube apply --server-side --filename -
# the list of pending workloads gets 404 here, and no namespace can be deleted while an API is unavailable
kube delete apiservice --ignore-not-found v1beta1.visibility.kueue.x-k8s.io v1beta2.visibility.kueue.x-k8s.io
kube --namespace kueue-system rollout status deployment/kueue-controller-manager --timeout=5m
