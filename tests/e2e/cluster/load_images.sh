#!/usr/bin/env bash
# Copy images from the container engine onto the node, as `kind load docker-image` does: the named ones, by default those
# that the manifests of k8s/ name. What the engine does not have, or the node has already, is left out.
set -euo pipefail
. "$(dirname "$0")/common.sh"

is_loaded() {  # is_loaded NAME: the node has this content under this name; kubelet's ID is that of the engine
  local id name=$1
  id=$("$docker" image inspect --format '{{.Id}}' "$name")
  case $name in */*/*) ;; */*) name=docker.io/$name ;; *) name=docker.io/library/$name ;; esac
  [ "$(digest "$name")" = "$(digest "$id")" ] && [ -n "$(digest "$id")" ]
}

digest() {  # digest REFERENCE: of the manifest that the node knows by this reference
  awk -v name="$1" '$1 == name { print $3 }' <<< "$loaded"
}

project_images() {
  grep -rhoE 'image: (&[a-z]+ )?[^*&].*' "$repository/k8s/jobs" "$repository/k8s/stack" | sed 's/ *#.*//; s/.* //' | sort --unique
}

"$docker" container inspect "$node" >/dev/null 2>&1 || fail 69 "there is no cluster; start one with: make cluster"
loaded=$(on_node ctr --namespace k8s.io images list)
if [ $# = 0 ]; then mapfile -t names < <(project_images); else names=("$@"); fi
wanted=()
for name in "${names[@]}"; do
  if ! "$docker" image inspect "$name" >/dev/null 2>&1; then
    echo "$name is not in the container engine" >&2
  elif ! is_loaded "$name"; then
    wanted+=("$name")
  fi
done
[ ${#wanted[@]} != 0 ] || exit 0
printf '%s\n' "${wanted[@]}"
"$docker" save "${wanted[@]}" | on_node ctr --namespace k8s.io images import -
