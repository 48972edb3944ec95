"""Who may talk to whom, by https://kubernetes.io/docs/concepts/services-networking/network-policies/."""

from ipaddress import ip_address, ip_network

from tests.support.kubernetes.manifests import Object, of_kind

ANY = -1
ALL: list[Object] = [{"port": ANY}]  # what a rule without ports means
Labels = dict[str, str]
Peer = Labels | str  # a pod of the namespace, or an address outside the cluster


def matches(selector: Object, labels: Labels) -> bool:
    assert not set(selector) - {"matchLabels"}, "only matchLabels are in use"
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def allowed(objects: list[Object], source: Labels, target: Peer, port: int) -> bool:
    """Tell whether a pod with the labels `source` may open a connection to `target` at a TCP port."""
    out = _permits(objects, "Egress", source, target, port)
    return out and (isinstance(target, str) or _permits(objects, "Ingress", target, source, port))


def _permits(objects: list[Object], direction: str, own: Labels, other: Peer, port: int) -> bool:
    policies = [p["spec"] for p in of_kind(objects, "NetworkPolicy") if direction in p["spec"]["policyTypes"]]
    policies = [policy for policy in policies if matches(policy["podSelector"], own)]
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
    peers = "to" if direction == "Egress" else "from"
    return not policies or any(
        any(entry.get("protocol", "TCP") == "TCP" and entry["port"] in (port, ANY) for entry in rule.get("ports", ALL))
        and any(_is(peer, other) for peer in rule[peers])
        for rule in rules
    )


def _is(peer: Object, other: Peer) -> bool:
    if isinstance(other, str):
        block, address = peer.get("ipBlock", {"cidr": "0.0.0.0/32"}), ip_address(other)
        holes = [ip_network(hole) for hole in block.get("except", [])]
        return address in ip_network(block["cidr"]) and not any(address in hole for hole in holes)
    return "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], other)
