#!/usr/bin/env bash
# Build and start a real Kubernetes with one node on a host without a container registry. Can be called at any time: what
# is there already is kept, what was interrupted is done again.
#
#   VERSION=1.34.4   another version of Kubernetes        KUEUE=1          with Kueue
#   CLUSTER=folder   for programs, logs and kubeconfig    CLUSTER_SUBNET   of the node, by default 172.29.33.0/24
set -euo pipefail
. "$(dirname "$0")/common.sh"

check_host() {
  [ "$(id -u)" = 0 ] || fail 69 "make cluster needs root, to make a Debian: sudo make cluster"
  "$docker" info >/dev/null 2>&1 || fail 69 "no container engine found; start one, for example with: dockerd &"
  check_go
  check_disk
  check_node
}

check_go() {
  local found
  found=$(go env GOVERSION 2>/dev/null) || fail 69 "make cluster needs Go $GO or newer: https://go.dev/dl"
  [ "$(printf '%s\n' "$GO" "${found#go}" | sort --version-sort | head -n 1)" = "$GO" ] ||
    fail 78 "make cluster needs Go $GO or newer, this is ${found#go}: https://go.dev/dl"
}

check_disk() {  # caches of Go; images of the stand-ins and of the project; the same on the node
  local build=1 images=1 storage
  [ -d "$kubernetes" ] || build=10
  "$docker" image inspect dogbreed/train:0.1.0 >/dev/null 2>&1 || images=6
  "$docker" container inspect "$node" >/dev/null 2>&1 || images=$((images + 11))
  storage=$("$docker" info --format '{{.DockerRootDir}}')
  mkdir -p "$cluster"
  check_free "$storage" $((build + images))
  check_free "$cluster" "$build"
  [ "$(stat --file-system --format %T "$storage")" != overlayfs ] ||
    fail 78 "the container engine's $storage is on an overlay file system, on which the node's containerd cannot work"
}

check_free() {  # check_free FOLDER GB
  local free
  free=$(($(stat --file-system --format '%a * %S' "$1") / 1000000000))
  [ "$free" -ge "$2" ] || fail 78 "make cluster needs $2 GB in $1, $free GB are free"
}

check_node() {  # a node of another version must be removed by hand: it may have somebody's work on it
  local running wanted
  running=$("$docker" container inspect --format '{{.Config.Image}}' "$node" 2>/dev/null) || return 0
  wanted=dogbreed-cluster/node:v$KUBERNETES
  [ "$running" = "$wanted" ] || fail 78 "the cluster is $running, not $wanted; remove it first with: make cluster-down"
}

install_packages() {
  local tool missing=()
  for tool in mmdebstrap jq; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  [ ${#missing[@]} != 0 ] || return 0
  command -v apt-get >/dev/null || fail 69 "make cluster needs ${missing[*]}"
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}

import_debian() {
  local packages=containerd,runc,containernetworking-plugins,conntrack,ethtool,iproute2,ipset,iptables,kmod,mount,procps,socat
  ! "$docker" image inspect dogbreed-cluster/debian >/dev/null 2>&1 || return 0
  mmdebstrap --variant=minbase --include="$packages" "$SUITE" "$cluster/debian.tar"
  "$docker" import --change 'LABEL dogbreed.stand-in=true' "$cluster/debian.tar" dogbreed-cluster/debian
  rm "$cluster/debian.tar"
}

images() {  # print TARGET TAG of each image of cluster.Dockerfile
  local name
  for name in node kube-proxy kube-apiserver kube-controller-manager kube-scheduler; do echo "$name v$KUBERNETES"; done
  printf '%s\n' "etcd v$ETCD" "coredns v$COREDNS" "kube-router v$KUBE_ROUTER" 'pause 1'
  [ -z "${KUEUE:-}" ] || echo "kueue v$KUEUE_VERSION"
}

build_images() {  # those that are missing, or all if a file that goes into them has changed
  local inputs=("$here"/{cluster.Dockerfile,containerd.toml,node_entrypoint.sh}) stamp=$cluster/files/inputs same=''
  mkdir -p "$cluster/files"
  ! sha256sum --check --status "$stamp" || same=1
  cp "${inputs[@]}" "$cluster/files/"
  images | while read -r name tag; do
    if [ -n "$same" ] && "$docker" image inspect "dogbreed-cluster/$name:$tag" >/dev/null 2>&1; then continue; fi
    build_image "$name" "$tag" < /dev/null
  done
  sha256sum "${inputs[@]}" > "$stamp"
}

build_image() {  # build_image TARGET TAG
  DOCKER_BUILDKIT=1 "$docker" build --quiet --target "$1" --tag "dogbreed-cluster/$1:$2" \
    --build-arg "KUBERNETES=$KUBERNETES" --build-arg "ETCD=$ETCD" --build-arg "COREDNS=$COREDNS" \
    --build-arg "KUBE_ROUTER=$KUBE_ROUTER" --build-arg "KUEUE=$KUEUE_VERSION" \
    --file "$here/cluster.Dockerfile" "$cluster"
}

# like --privileged, which fails where root itself lacks CAP_SYS_RESOURCE
rights=(--cap-add ALL --cap-drop SYS_RESOURCE --device-cgroup-rule 'a *:* rwm' --device /dev/kmsg --cgroupns private
  --security-opt systempaths=unconfined --security-opt seccomp=unconfined --security-opt apparmor=unconfined)

is_initialized() { "$docker" cp "$node:/etc/kubernetes/initialized" - >/dev/null 2>&1; }

start_node() {  # the address is fixed: certificates and kubeconfig name it, and a started container keeps it
  # an interrupted kubeadm cannot be called again: it refuses a CoreDNS newer than those it knows
  is_initialized || "$here/down.sh"
  "$docker" network inspect "$node" >/dev/null 2>&1 ||
    "$docker" network create --subnet "$subnet" --label dogbreed.cluster "$node"
  "$docker" container inspect "$node" >/dev/null 2>&1 ||
    "$docker" create --name "$node" --hostname "$node" --network "$node" --ip "$address" "${rights[@]}" \
      --tmpfs /run --tmpfs /tmp --volume /var --volume /lib/modules:/lib/modules:ro "dogbreed-cluster/node:v$KUBERNETES"
  "$docker" start "$node"
  retry on_node ctr version
}

load_system_images() {
  images | sed '/^node /d; s/ /:/; s|^|dogbreed-cluster/|' | xargs "$here/load_images.sh"
}

configure_node() {  # what kubeadm reads
  sed "s/ADDRESS/$address/; s/vKUBERNETES/v$KUBERNETES/; s/vCOREDNS/v$COREDNS/; s/vETCD/v$ETCD/" "$here/kubeadm.yaml" |
    on_node sh -c 'mkdir -p /etc/kubernetes/patches && cat > /etc/kubernetes/kubeadm.yaml'
  # resolvers of the host that listen on a loopback address do not answer to pods
  { cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null || true; } |
    awk '$1 == "nameserver" && $2 !~ /^127\./ && !seen[$2]++' | on_node sh -c 'cat > /etc/kubernetes/resolv.conf'
  # requests are shares of the processor, too; on two cores those of the stack and of four Jobs take 1400m
  request_cpu etcd 75m
  request_cpu kube-apiserver 100m
  request_cpu kube-controller-manager 50m
  request_cpu kube-scheduler 25m
}

request_cpu() {  # request_cpu COMPONENT CPU: by a patch for kubeadm
  printf '{"spec": {"containers": [{"name": "%s", "resources": {"requests": {"cpu": "%s"}}}]}}' "$1" "$2" |
    on_node sh -c "cat > /etc/kubernetes/patches/$1.json"
}

init_control_plane() {  # without kubeadm's preflight, which is for whole machines and pulls images
  if ! is_initialized; then
    configure_node
    on_node kubeadm init --config /etc/kubernetes/kubeadm.yaml --skip-phases preflight
    on_node touch /etc/kubernetes/initialized
  fi
  on_node cat /etc/kubernetes/admin.conf > "$cluster/kubeconfig.part"
  mv "$cluster/kubeconfig.part" "$cluster/kubeconfig"
  retry kube get --raw /readyz
}

apply_network() {  # kube-router's manifest for kubeadm, with our image
  local module
  # else packets between pods of one node bypass the policies
  on_node sh -c 'modprobe br_netfilter || true; sysctl --write net.bridge.bridge-nf-call-iptables=1'
  module=$(cd "$cluster/modules/kube-router-$KUBE_ROUTER" && go list -m -f '{{.Dir}}' github.com/cloudnativelabs/kube-router/v2)
  sed -e "s|image: docker.io/.*|image: docker.io/dogbreed-cluster/kube-router:v$KUBE_ROUTER|" \
    -e 's/imagePullPolicy: Always/imagePullPolicy: Never/' -e 's/cpu: 250m/cpu: 25m/' \
    "$module/daemonset/kubeadm-kuberouter.yaml" | kube apply --filename -
  kube --namespace kube-system set resources deployment/coredns --requests cpu=25m
  kube --namespace kube-system scale deployment/coredns --replicas 1
}

apply_storage() {  # volumes that a deleted claim has left are emptied and offered again
  local name
  kube apply --filename "$here/storage.yaml"
  for name in $(kube get persistentvolumes --output jsonpath='{.items[?(@.status.phase=="Released")].metadata.name}'); do
    kube delete persistentvolume "$name"
    on_node rm -rf "/var/lib/volumes/${name#volume-}"
  done
  for name in 1 2 3 4 5 6 7 8; do
    on_node mkdir -p "/var/lib/volumes/$name"
    sed "s/NUMBER/$name/" "$here/volume.yaml" | kube apply --filename -
  done
}

wait_until_ready() {  # after a restart the API server still has the old status: CoreDNS itself must reply
  kube wait node --all --for=condition=Ready --timeout=3m
  kube --namespace kube-system rollout status daemonset/kube-proxy --timeout=3m
  kube --namespace kube-system rollout status daemonset/kube-router --timeout=3m
  kube --namespace kube-system rollout status deployment/coredns --timeout=3m
  retry kube get --raw /api/v1/namespaces/kube-system/services/kube-dns:metrics/proxy/metrics
}

check_host
step "Debian packages" install_packages
"$here/build.sh"
step "Debian for the node" import_debian
step "images of the cluster" build_images
step "node" start_node
step "images of the cluster onto the node" load_system_images
step "control plane" init_control_plane
step "network" apply_network
step "storage" apply_storage
step "ready" wait_until_ready
[ -z "${KUEUE:-}" ] || step "kueue" "$here/kueue.sh"
step "images of the project onto the node" "$here/load_images.sh"
echo "export KUBECONFIG=$cluster/kubeconfig"
