"""Addresses and networks of other machines, and whether they lead to this host's own pods. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

from hostaudit.checks import _fib, _links

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.checks import View
    from hostaudit.checks._fib import IPv4

PODS = re.compile(
    r"cni\d+|cbr\d+|cilium_\w+|lxc[0-9a-f]{6,}|flannel[.\w-]*|vxlan\.calico|cali[0-9a-f]+|tunl0|kube-bridge|weave"
    r"|antrea-gw\d+|ovn-k8s-mp\d+|genev_sys_\d+|docker\d+|docker_gwbridge|br-[0-9a-f]{12}|nerdctl\d+|(cni-)?podman\d+"
)
"""Interfaces that lead to pods or containers, by the names that CNIs and container engines give them."""


class Target(NamedTuple):
    """An address of the site."""

    number: int
    what: str
    host: str


def targets(view: View) -> Iterator[Target]:
    """Yield what a host has, and what it relies on, unless its own pods are there too."""
    snapshot = view.snapshot
    assert snapshot.route is not None  # noqa: S101 - reads
    assert snapshot.link is not None  # noqa: S101 - reads
    name, fib = view.host.name, _fib.Fib(snapshot.route)
    if not (snapshot.platform and snapshot.platform.container):
        for link in _links.outward(snapshot.link):
            if not PODS.fullmatch(link.name):
                for text in link.addresses:
                    if ":" not in text:
                        yield Target(int(_fib.interface(text).ip), f"{link.name}", name)
    relied = [
        ("router", r.via) for r in snapshot.route.routes if r.destination == "default" and not PODS.fullmatch(r.device)
    ]
    relied += [("name server", one) for one in snapshot.resolver.nameservers] if snapshot.resolver else []
    for what, text in relied:
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local) and not taken(fib, address):
            yield Target(int(address), what, name)


def subnets(view: View) -> list[ipaddress.IPv4Network]:
    """Return the networks that a machine is on, other than those of its pods."""
    assert view.snapshot.link is not None  # noqa: S101 - reads
    if view.snapshot.platform and view.snapshot.platform.container:
        return []
    links = [link for link in _links.outward(view.snapshot.link) if not PODS.fullmatch(link.name)]
    return [n for link in links for n in _links.networks(link) if isinstance(n, ipaddress.IPv4Network)]


def overlaps(
    view: View, pods: list[ipaddress.IPv4Network], subnets: Sequence[tuple[str, ipaddress.IPv4Network]], fib: _fib.Fib
) -> Iterator[dict[str, str]]:
    """Yield the other machines' networks of which an address leads to this host's pods."""
    for name, subnet in dict.fromkeys(subnets):
        for network in pods:
            if name != view.host.name and network.overlaps(subnet):
                part = max(network, subnet, key=lambda one: one.prefixlen)
                example = part.network_address + (part.num_addresses > 1)
                if route := taken(fib, example):
                    yield {"network": str(subnet), "host": name, "example": str(example), "route": route}


def taken(fib: _fib.Fib, address: IPv4) -> str:
    """Return the route by which an address leads to pods; empty where it does not."""
    way = fib.way(address)
    return way.text if way and way.devices and all(PODS.fullmatch(name) for name in way.devices) else ""
