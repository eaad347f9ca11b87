"""No guest's own firewall drops the half of an asymmetric flow that the hypervisor lets through.

What it reads
    The guests of a Proxmox VE node, their ``<VMID>.fw`` (switched on, ``policy_in``, the rules that accept), which
    interfaces have ``firewall=1``; ``nf_conntrack_allow_invalid``; ``hostaudit_asymmetric`` and ``hostaudit_vips`` of
    the inventory.

Why it matters
    ``nf_conntrack_allow_invalid`` is necessary, not sufficient. A guest that *receives* the INVALID half of a flow
    still loses it in PVEFW-Drop, where its policy for incoming packets is DROP (the default) or REJECT and no rule
    accepts the packet before. A guest that only sends it is fine: its policy out is ACCEPT by default. Live migration
    makes the same state by itself: ``qm migrate`` leaves conntrack entries behind (``--with-conntrack-state`` is 0 by
    default). On the new node conntrack takes a plain ACK for the begin of a flow, and the rest is INVALID; a guest with
    ``firewall=1`` loses what none of its rules accepts, and those connections hang until they time out.

Active when
    Never: the counters of the guests' own chains are not read. It is a risk, medium where the path is declared
    asymmetric, low where the option alone says that somebody expects INVALID packets.

How it is remedied
    By hand, in the guest's firewall: a rule that accepts the flow whatever its state, for example
    ``IN ACCEPT -source 10.0.0.100 -p tcp -sport 8080`` for the answers of a VIP, above the policy. Rules come before
    the drop of INVALID packets there, and match without state. Where ``hostaudit_vips`` names the virtual addresses, a
    guest with such a rule for each of them is not named any more.

Fix safety
    Such a rule accepts every packet that fits it, not only answers: name the address and the port, and nothing wider.
    ``policy_in: ACCEPT`` would do as well and opens the guest altogether.

References
    https://pve.proxmox.com/wiki/Firewall
    https://pve.proxmox.com/pve-docs/qm.1.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _guests, _loosen, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Guest, GuestNic, Proxmox


@check(reads=("platform",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Find the guests whose firewall would drop what the node lets pass."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if why := _guests.unreadable(view, "guests", "options"):
        return unknown(why)
    declared = view.host.asymmetric
    if not declared and owners.option(view.snapshot.platform, _loosen.OPTION) != "1":
        return passed("nothing says that packets of an asymmetric path come here")
    met = [(g, n) for g, n in _guests.nics(node) if _guests.filtered(node, g, n)]
    found = [(g, n) for g, n in met if not (_guests.accepts_all(g) or _guests.accepts_flows(g, view.host.vips))]
    evidence = {"declared": declared, "guests": [_as_evidence(guest, nic) for guest, nic in found]}
    if not found:
        return passed("no guest here drops INVALID packets that the node lets pass", **evidence)
    first = _guests.label(*found[0])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return view.fail(
        Grade.RISK,
        f"{first if len(first) <= 36 else first[:33] + '...'} drops INVALID that comes in{more}",
        severity=Severity.MEDIUM if declared else Severity.LOW,
        evidence=evidence,
        reproduce=f"cat /etc/pve/firewall/{found[0][0].vmid}.fw; {_chain(node, *found[0])}",
        disproof="A rule of that guest accepts the packets whatever their state, or the guest only ever sends them.",
        owner=owners.firewall(view.snapshot.platform),
        advice=(
            "Where such a guest receives one half of the asymmetric flow (the client, or a backend whose requests "
            "come another way), add a rule to its firewall that accepts the flow by address and port.\n"
            "A guest that only sends that half needs nothing."
        ),
        cause="guests drop the INVALID packets that they receive",
    )


def _chain(node: Proxmox, guest: Guest, nic: GuestNic) -> str:
    """Return the command that shows the guest's chain and what it counted."""
    if node.implementation == "nftables":
        return f"nft list chain bridge proxmox-firewall-guests guest-{guest.vmid}-in"
    prefix = "veth" if guest.kind == "lxc" else "tap"
    return (
        f"iptables-legacy -nvxL {_say.quote(f'{prefix}{guest.vmid}i{nic.index}-IN')}; iptables-legacy -nvxL PVEFW-Drop"
    )


def _as_evidence(guest: Guest, nic: GuestNic) -> dict[str, Any]:
    rules = guest.firewall
    assert rules is not None  # noqa: S101 - filtered
    return {"guest": _guests.label(guest, nic), "policy_in": rules.policy_in, "accepts": rules.accepts}
