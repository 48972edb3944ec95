#!/usr/bin/env bash
# Remove the node with everything in it (processes, mounts, links, firewall rules are in its namespaces, images and
# volumes in its volume) and its network. Programs, images of the engine and logs stay.
set -euo pipefail
. "$(dirname "$0")/common.sh"

remove_node() {
  ! "$docker" container inspect "$node" >/dev/null 2>&1 || "$docker" rm --force --volumes "$node"
  ! "$docker" network inspect "$node" >/dev/null 2>&1 || "$docker" network rm "$node"
  rm -f "$cluster/kubeconfig"
}

step "node removed" remove_node
