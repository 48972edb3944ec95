# shellcheck shell=bash disable=SC2034
# What `make cluster` builds; the scripts of this folder source it.
KUBERNETES=${VERSION:-1.33.13}  # of the oldest minor version that k8s/ supports
ETCD=3.6.16
COREDNS=1.14.7
KUBE_ROUTER=2.1.0
KUEUE_VERSION=0.17.0  # KUEUE=1 asks for it
GO=1.26  # the oldest that builds all of them
SUITE=trixie  # Debian of the node: containerd 1.7, runc 1.1
