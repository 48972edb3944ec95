#!/usr/bin/env bash
# Build the programs of the cluster from Go modules into CLUSTER/bin, one folder for each version; what is there stays.
set -euo pipefail
. "$(dirname "$0")/common.sh"
export CGO_ENABLED=0  # the images have no C library

module() {  # module MODULE@VERSION: begin a module that takes MODULE's staging modules in the versions published for it
  local source version=${1##*@v}
  source=$(go mod download -json "$1" | jq -r .Dir)
  go mod init dogbreed.test/cluster
  go mod edit -json "$source/go.mod" | jq -r '.Replace[]? | select(.New.Path | startswith("./staging/")) | .Old.Path' |
    sed "s|.*|-replace=&=&@v0.${version#1.}|" | xargs --no-run-if-empty go mod edit
}

build() {  # build NAME VERSION LDFLAGS MODULE[/PACKAGE]...: build these programs into bin/NAME-VERSION
  local folder=$cluster/bin/$1-$2 version=$2 ldflags=$3
  [ ! -d "$folder" ] || return 0
  enter_module "$1-$2"
  shift 3
  module "${1%/cmd/*}@v$version"
  go get -tool "${@/%/@v$version}"
  go build -ldflags "-s -w $ldflags" -o "$folder.part/" tool
  mv "$folder.part" "$folder"
}

enter_module() {  # enter_module NAME: an empty folder for a module
  rm -rf "$cluster/modules/$1" "$cluster/bin/$1.part"
  mkdir -p "$cluster/modules/$1"
  cd "$cluster/modules/$1"
}

build_kubernetes() {  # the server reports what -ldflags say; kubeadm compares it with the version of its configuration
  local flags='' name minor=${KUBERNETES#1.} programs=k8s.io/kubernetes/cmd
  for name in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $name.gitVersion=v$KUBERNETES -X $name.gitMajor=1 -X $name.gitMinor=${minor%%.*} -X $name.gitTreeState=clean"
  done
  build kubernetes "$KUBERNETES" "$flags" \
    $programs/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubelet,kubectl,kubeadm}
}

build_coredns() {  # with the plugins that kubeadm's Corefile names; with all of its plugins it takes three times as long
  local folder=$cluster/bin/coredns-$COREDNS
  [ ! -d "$folder" ] || return 0
  enter_module "coredns-$COREDNS"
  cp "$here/coredns.go" main.go
  module "github.com/coredns/coredns@v$COREDNS"
  go get "github.com/coredns/coredns@v$COREDNS"
  go mod tidy
  go build -ldflags '-s -w' -o "$folder.part/coredns" .
  mv "$folder.part" "$folder"
}

build_pause() {
  [ -e "$cluster/bin/pause" ] || go build -ldflags '-s -w' -o "$cluster/bin/pause" "$here/pause.go"
}

step "kubernetes $KUBERNETES" build_kubernetes
step "etcd $ETCD" build etcd "$ETCD" '' go.etcd.io/etcd/server/v3
step "coredns $COREDNS" build_coredns
step "kube-router $KUBE_ROUTER" build kube-router "$KUBE_ROUTER" '' github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
step "pause" build_pause
[ -z "${KUEUE:-}" ] || step "kueue $KUEUE_VERSION" build kueue "$KUEUE_VERSION" '' sigs.k8s.io/kueue/cmd/kueue
