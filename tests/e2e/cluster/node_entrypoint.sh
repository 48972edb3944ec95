#!/bin/bash
# First process of the node, in place of systemd: make /sys writable, then keep containerd and kubelet running.
set -euo pipefail
groups=/sys/fs/cgroup

mount -o remount,rw /sys
if [ -e "$groups/cgroup.controllers" ]; then
  # version 2: a group whose children have controllers may hold no processes itself
  mount -o remount,rw "$groups"
  mkdir -p "$groups/init"
  xargs --max-args=1 < "$groups/cgroup.procs" > "$groups/init/cgroup.procs" || true
  sed -e 's/ / +/g' -e 's/^/+/' "$groups/cgroup.controllers" > "$groups/cgroup.subtree_control"
else
  for controller in "$groups"/*/; do mount -o remount,bind,rw "$controller"; done
fi
mount --make-rshared /  # pods must see the volumes that kubelet mounts

keep() {  # keep PROGRAM OPTIONS...: start it again whenever it ends
  while true; do
    "$@" >> "/var/log/$1.log" 2>&1 || true
    sleep 2
  done
}

trap exit TERM INT
keep containerd &
until [ -e /etc/kubernetes/kubelet.conf ] && [ -e /var/lib/kubelet/kubeadm-flags.env ]; do sleep 1; done
# shellcheck source=/dev/null
. /var/lib/kubelet/kubeadm-flags.env
# shellcheck disable=SC2086  # these are several options
keep kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf $KUBELET_KUBEADM_ARGS &
wait
