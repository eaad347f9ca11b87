"""The MTU that a guest's interface is configured with fits the bridge that carries it.

What it reads
    ``mtu=`` of the interfaces of all guests of a Proxmox VE node, and the MTU of their bridges.

Why it matters
    A virtual machine whose interface asks for more than its bridge has does not start the next time, also after a
    migration to a node whose bridge is smaller. A container does start, and loses every packet that is larger than
    the bridge: handshakes work, large answers hang. ``mtu=1`` means the bridge's own. Only virtio takes the setting;
    on other models it does nothing, and the guest keeps what its own configuration says.

Active when
    Never: comparing configuration shows that it can happen. Ports whose MTU is that of an earlier time, because they
    keep what the bridge had when they were plugged in, are named by ``mtu-mismatch``.

How it is remedied
    By hand: ``mtu=1`` on the interface, or a larger bridge on every node that the guest may run on, the switch first.

Fix safety
    A changed ``mtu=`` takes effect when the interface is plugged in again, which cuts it off for a moment: at the next
    stop and start of the guest, unless hotplug is on. Set the same inside the guest.

References
    https://pve.proxmox.com/pve-docs/qm.1.html
    https://pve.proxmox.com/wiki/Network_Configuration
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _guests, _links, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import LinkTable, Proxmox

INHERIT = 1
"""``mtu=1``: the bridge's own."""


@check(reads=("platform", "link"), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare ``mtu=`` with the bridge of each interface."""
    node, table = _guests.node(view), view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if why := _guests.unreadable(view, "guests"):
        return unknown(why)
    faults = list(_faults(node, table))
    if not faults:
        return passed("no interface of a guest asks for more than its bridge has")
    first = next((fault for fault in faults if "bridge_mtu" in fault), faults[0])
    too_large = "bridge_mtu" in first
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    name = first["guest"] if len(first["guest"]) <= 32 else first["guest"][:29] + "..."
    against = f"{first['bridge'][:15]} has {first['bridge_mtu']}" if too_large else f"{first['model'][:15]} takes none"
    return view.fail(
        Grade.RISK,
        f"{name} has mtu={first['mtu']}, {against}{more}",
        severity=Severity.MEDIUM if too_large else Severity.LOW,
        evidence={"interfaces": faults},
        reproduce=f"grep -n ^net {first['file']}; ip -br link show type bridge; ip -d link show",
        disproof="The guest starts on this node, and a ping with DF set and that size gets through.",
        owner="qemu-server" if first["file"].startswith("/etc/pve/local/qemu") else "pve-container",
        advice=(
            "Set mtu=1 on the interface, so that it follows its bridge; or raise the bridge on every node that the "
            "guest may run on, after the switch. On models other than virtio set the MTU inside the guest."
        ),
        cause="a guest's interface asks for an MTU that it cannot have",
    )


def _faults(node: Proxmox, table: LinkTable) -> Iterator[dict[str, Any]]:
    for guest, nic in _guests.nics(node):
        if nic.mtu is None or nic.mtu == INHERIT:
            continue
        folder = "lxc" if guest.kind == "lxc" else "qemu-server"
        fault: dict[str, Any] = {"guest": _guests.label(guest, nic), "mtu": nic.mtu, "model": nic.model}
        fault |= {"bridge": nic.bridge, "file": f"/etc/pve/local/{folder}/{guest.vmid}.conf"}
        bridge = _links.named(table, nic.bridge)
        if guest.kind == "qemu" and nic.model != "virtio":
            yield fault
        elif bridge is not None and nic.mtu > bridge.mtu:
            yield fault | {"bridge_mtu": bridge.mtu}
