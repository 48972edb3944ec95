# The node and what kubeadm starts on it, as images: the context is CLUSTER with the programs that build.sh has made.
ARG DEBIAN=dogbreed-cluster/debian
FROM ${DEBIAN} AS node
ARG KUBERNETES
LABEL dogbreed.stand-in="true"
COPY bin/kubernetes-${KUBERNETES}/kubeadm bin/kubernetes-${KUBERNETES}/kubectl bin/kubernetes-${KUBERNETES}/kubelet /usr/local/bin/
COPY files/containerd.toml /etc/containerd/config.toml
COPY files/node_entrypoint.sh /usr/local/bin/
ENTRYPOINT ["node_entrypoint.sh"]

FROM ${DEBIAN} AS kube-proxy
ARG KUBERNETES
LABEL dogbreed.stand-in="true"
COPY bin/kubernetes-${KUBERNETES}/kube-proxy /usr/local/bin/

FROM ${DEBIAN} AS kube-router
ARG KUBE_ROUTER
LABEL dogbreed.stand-in="true"
COPY bin/kube-router-${KUBE_ROUTER}/kube-router /usr/local/bin/
ENTRYPOINT ["kube-router"]

FROM scratch AS kube-apiserver
ARG KUBERNETES
LABEL dogbreed.stand-in="true"
COPY bin/kubernetes-${KUBERNETES}/kube-apiserver /usr/local/bin/

FROM scratch AS kube-controller-manager
ARG KUBERNETES
LABEL dogbreed.stand-in="true"
COPY bin/kubernetes-${KUBERNETES}/kube-controller-manager /usr/local/bin/

FROM scratch AS kube-scheduler
ARG KUBERNETES
LABEL dogbreed.stand-in="true"
COPY bin/kubernetes-${KUBERNETES}/kube-scheduler /usr/local/bin/

FROM scratch AS etcd
ARG ETCD
LABEL dogbreed.stand-in="true"
COPY bin/etcd-${ETCD}/server /usr/local/bin/etcd

FROM scratch AS coredns
ARG COREDNS
LABEL dogbreed.stand-in="true"
COPY bin/coredns-${COREDNS}/coredns /usr/local/bin/
ENTRYPOINT ["coredns"]

FROM scratch AS pause
LABEL dogbreed.stand-in="true"
COPY bin/pause /usr/local/bin/
ENTRYPOINT ["pause"]

FROM scratch AS kueue
ARG KUEUE
LABEL dogbreed.stand-in="true"
COPY bin/kueue-${KUEUE}/kueue /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
