"""What a Proxmox VE node's host.fw would take, and what runs of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _invalid, _loosen
from hostaudit.facts import chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit_agent.snapshot import Proxmox, Snapshot

_FIREWALLS = frozenset({"pve-firewall", "proxmox-firewall"})


def runs(option: str, snapshot: Snapshot) -> tuple[str | None, list[str]]:
    """Return the value that the kernel shows for an option of host.fw, and the paths that it was taken from.

    ``nf_conntrack_allow_invalid`` is no key of the kernel: it runs as 0 while the rule that it leaves out is there.
    """
    if option == _loosen.OPTION:
        if snapshot.firewall is None:
            return None, []
        rules = [
            r
            for r in snapshot.firewall.invalid
            if r.chain not in _invalid.ALWAYS_THERE and _loosen.owner(r) in _FIREWALLS
        ]
        return "0" if rules else "1", sorted({chain(rule) for rule in rules})
    key = f"net.netfilter.{option}"
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    return (knob.running if knob else None), [f"sysctl.knobs.{key}.running"]


def why_not(proxmox: Proxmox, variables: Mapping[str, Any]) -> str:
    """Return why host.fw cannot be changed, or would not be taken, with these variables of the role."""
    if not proxmox.mounted:
        return "not settable here now: /etc/pve is not mounted; see `systemctl status pve-cluster`"
    if proxmox.quorate is False:
        return "not settable here now: the cluster has no quorum, so /etc/pve is read-only; see `pvecm status`"
    if proxmox.running is False:
        return "not settable here now: the firewall's daemon does not run, so nothing would take the option"
    deleted = [
        f"{m.file}:{m.line}: {m.text}" for m in proxmox.misread if m.file == proxmox.options_file and m.perl is None
    ]
    by_file = variables.get("pve_firewall_method") == "file"
    if (lost := [*proxmox.ignored, *deleted]) and not by_file:
        return (
            f"host.fw has a line that Proxmox VE does not take and would delete when it saves: {lost[0]!r}; "
            "correct it or take it out, or keep it with pve_firewall_method=file, then plan again"
        )
    if proxmox.comments and not by_file and not variables.get("pve_firewall_drop_comments"):
        return (
            f"host.fw has comments, which Proxmox VE deletes when it saves: {proxmox.comments[0]!r}; "
            "pve_firewall_method=file keeps them and pve_firewall_drop_comments=true lets them go: set one of them in "
            "the inventory, or with -e for plan and apply alike"
        )
    refused = [m for m in proxmox.misread if m.refuses and proxmox.implementation == "nftables"]
    if refused:
        return (
            f"proxmox-firewall refuses {refused[0].file} because of line {refused[0].line}, so it would take no "
            "change; correct that line, then plan again"
        )
    return ""


def too_old(proxmox: Proxmox, options: Mapping[str, Any]) -> str:
    """Return why the live implementation would not do what the options say; empty where it would."""
    version = proxmox.packages.get("proxmox-firewall", "")
    honoured = not version or owners.release(version) >= owners.NFT_HONOURS_INVALID
    if proxmox.implementation != "nftables" or _loosen.OPTION not in options or honoured:
        return ""
    return (
        f"it would have no effect: proxmox-firewall {version} drops INVALID packets of guests whatever host.fw says; "
        "upgrade it to 0.7.0 or later, then plan again"
    )
