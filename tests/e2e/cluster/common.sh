# shellcheck shell=bash disable=SC2034
# Names and functions of the scripts of this folder, which source it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../../.." && pwd)
. "$here/versions.sh"

cluster=$(realpath -m "${CLUSTER:-$repository/build/cluster}")
node=dogbreed-cluster                    # the container, its network and the name of the node
subnet=${CLUSTER_SUBNET:-172.29.33.0/24}
address=${subnet%.*}.2
kubernetes=$cluster/bin/kubernetes-$KUBERNETES

# a client without the buildx plugin cannot build; Debian's own, of engine 20.10, has its builder inside
docker=${DOCKER:-docker}
if ! "$docker" buildx version >/dev/null 2>&1 && [ -x /usr/bin/docker ]; then docker=/usr/bin/docker; fi

fail() {  # fail CODE MESSAGE: exit as sysexits.h says, 69 for a missing program or service, 78 for a wrong one
  echo "$2" >&2
  exit "$1"
}

log=''
step() {  # step NAME COMMAND...: run it, write what it prints to a file, and print how long it took
  local name=$1
  shift
  mkdir -p "$cluster/log"
  log="$cluster/log/${name//[^A-Za-z0-9.-]/-}.log"
  SECONDS=0
  "$@" > "$log" 2>&1
  log=''
  printf '%4d s  %s\n' "$SECONDS" "$name"
}

retry() {  # retry COMMAND...: until it succeeds, for at most two minutes
  local end=$((SECONDS + 120))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

report() {  # at the end of a script: where the step that failed wrote why
  local code=$?
  if [ "$code" != 0 ] && [ -n "$log" ]; then
    tail -n 15 "$log" >&2
    echo "failed with $code after $SECONDS s; all of it is in $log" >&2
  fi
}
trap report EXIT

on_node() { "$docker" exec --interactive "$node" "$@"; }

kube() { "$kubernetes/kubectl" --kubeconfig "$cluster/kubeconfig" "$@"; }
