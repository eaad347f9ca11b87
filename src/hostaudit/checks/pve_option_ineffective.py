"""What Proxmox VE's firewall is told to do is what it does.

What it reads
    The options of host.fw and cluster.fw as they were taken, the installed version of proxmox-firewall, whether its
    program is there and may run, which daemon runs, and the rules that drop INVALID.

Why it matters
    An option can be read and still do nothing. proxmox-firewall before 0.7.0 drops INVALID packets of guests although
    ``nf_conntrack_allow_invalid`` is 1. ``nftables: 1`` without the program leaves iptables live. ``enable`` of
    cluster.fw above 1 is a time, and counts as off a minute later. ``enable: 0`` of host.fw leaves the drop in
    PVEFW-FORWARD where it was: it governs the host's own traffic only. And an old pve-firewall that does not take
    ``nftables: yes`` makes its rules beside those of proxmox-firewall, which does.

Active when
    Never: it is a risk. Left to other checks are ``nf_conntrack_max`` below 262144 (``conntrack-max-overridden``) and
    ``nf_conntrack_tcp_timeout_syn_recv``, which pve-firewall reads under a misspelt name (``sysctl-drift``).

How it is remedied
    By hand: upgrade proxmox-firewall, install it or set ``nftables`` to 0, set ``enable`` of cluster.fw to 1, start the
    daemon. No role does it: each of them changes which packets all guests of a node get.

Fix safety
    Switching the implementation replaces all rules of the node at once, and guests have to be stopped and started
    again before their interfaces match it. ``systemctl restart pve-firewall`` removes all rules first and filters
    nothing for a moment; ``pve-firewall restart`` keeps them.

References
    https://pve.proxmox.com/wiki/Firewall
    https://git.proxmox.com/?p=proxmox-firewall.git;a=blob;f=debian/changelog
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostaudit import owners
from hostaudit.checks import _guests, _loosen, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Proxmox


class _Fault(NamedTuple):
    option: str
    summary: str
    advice: str
    severity: Severity


@check(reads=("platform",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare what is asked for with what the live implementation does."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if why := _guests.unreadable(view):
        return unknown(why)
    faults = sorted((*_live(view, node), *_invalid(view, node)), key=lambda fault: -fault.severity.rank)
    evidence = {
        "implementation": node.implementation,
        "options": node.options,
        "cluster_enable": node.cluster_enable,
        "packages": node.packages,
        "nftables_installed": node.nftables_installed,
        "force_disabled": node.force_disabled,
    }
    if not faults:
        return passed("the options of host.fw and cluster.fw are in effect", **evidence)
    return view.fail(
        Grade.RISK,
        faults[0].summary,
        severity=faults[0].severity,
        evidence={"faults": [fault.summary for fault in faults], **evidence},
        reproduce=(
            "cat /etc/pve/firewall/cluster.fw /etc/pve/local/host.fw; dpkg -l pve-firewall proxmox-firewall; "
            "pve-firewall status; iptables-legacy -nvxL PVEFW-FORWARD; nft list tables"
        ),
        disproof="`iptables-legacy-save` and `nft list ruleset` show the rules that the options ask for.",
        owner="proxmox-firewall" if node.implementation == "nftables" else "pve-firewall",
        advice="\n".join(dict.fromkeys(fault.advice for fault in faults)),
        cause=f"without effect: {', '.join(sorted({fault.option for fault in faults}))}",
    )


def _live(view: View, node: Proxmox) -> Iterator[_Fault]:
    """Compare the implementation that is live with the one that is asked for."""
    if node.cluster_enable.isdecimal() and int(node.cluster_enable) > 1 and not node.cluster_enabled:
        summary = "enable of cluster.fw is a time that has passed: the firewall is off"
        yield _Fault("cluster.fw enable", summary, "Write `enable: 1` below [OPTIONS] of cluster.fw.", Severity.MEDIUM)
    if node.running is False:
        name = "proxmox-firewall" if node.implementation == "nftables" else "pve-firewall"
        advice = f"See `systemctl status {name}`; until it runs, no change of a file takes effect."
        yield _Fault("the daemon", f"{name} does not run: nothing reads the options", advice, Severity.MEDIUM)
    if node.options.get("nftables") == "1" and node.implementation == "iptables":
        why = "a flag file in /run forbids it" if node.nftables_installed else "proxmox-firewall is not installed"
        advice = "Install proxmox-firewall, or set nftables to 0 in host.fw, so that file and rules say the same."
        yield _Fault("nftables", f"host.fw asks for nftables, {why}", advice, Severity.MEDIUM)
    asked = any(line.key == "nftables" and line.rust == "1" and line.perl is None for line in node.misread)
    both = asked and node.cluster_enabled and node.nftables_installed and not node.force_disabled
    if both and owners.present(view.snapshot.platform, "proxmox-firewall"):
        advice = "Write `nftables: 0` or `nftables: 1` in host.fw: what pve-firewall does not take, the other one may."
        yield _Fault("nftables", "both firewalls make rules: only one of them takes `nftables`", advice, Severity.HIGH)


def _invalid(view: View, node: Proxmox) -> Iterator[_Fault]:
    """Compare the INVALID drop with the options that seem to lift it."""
    version = node.packages.get("proxmox-firewall", "")
    old = bool(version) and owners.release(version) < owners.NFT_HONOURS_INVALID
    if node.implementation == "nftables" and node.options.get(_loosen.OPTION) == "1" and old:
        severity = Severity.HIGH if view.host.asymmetric else Severity.MEDIUM
        summary = f"proxmox-firewall {version[:12]} drops INVALID of guests whatever host.fw says"
        yield _Fault(_loosen.OPTION, summary, "Upgrade proxmox-firewall to 0.7.0 or later.", severity)
    rules = view.snapshot.firewall.invalid if view.snapshot.firewall else []
    off = node.implementation == "iptables" and node.options.get("enable") == "0"
    if off and any(rule.chain == "PVEFW-FORWARD" for rule in rules):
        summary = "enable: 0 of host.fw does not lift the INVALID drop of PVEFW-FORWARD"
        advice = f"Only {_loosen.OPTION}: 1 does; see conntrack-invalid-drop."
        yield _Fault("host.fw enable", summary, advice, Severity.LOW)
