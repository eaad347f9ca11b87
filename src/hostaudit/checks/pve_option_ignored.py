"""Every line of Proxmox VE's firewall files means the same to both programs that read them.

What it reads
    cluster.fw, host.fw and the ``<VMID>.fw`` of the guests configured on this node, line by line, as pve-firewall
    (iptables, Perl) and as proxmox-firewall (nftables, Rust) parse them; which of the two is live; files that nothing
    reads, such as ``/etc/pve/firewall/host.fw``.

Why it matters
    pve-firewall ignores a line that it does not know, and its daemon does not even log it: with a comment behind the
    value, ``nf_conntrack_allow_invalid: 1 # DSR`` is not set, and INVALID packets are dropped as before.
    proxmox-firewall refuses the whole file for such a line. One file refused, a guest's too, and no rule of the node is
    changed any more; only its journal says so. Each takes spellings that the other one does not: ``yes`` is 1 for
    proxmox-firewall and nothing for pve-firewall, upper-case keys the other way round.

Active when
    Never: it is a risk. High where the live program refuses a file, medium where it ignores an option, low where only
    the other program would, after a switch to it; so on PVE 7, which has pve-firewall alone, for the time after an
    upgrade.

How it is remedied
    By hand, in the file: each option in lower case, ``key: 0`` or ``key: 1``, once, below ``[OPTIONS]`` alone on its
    line, comments on lines of their own, line ends of Unix. ``pvesh`` is no way: saving through it deletes every line
    that it could not parse, with all comments.

Fix safety
    The option takes effect within 10 s (5 s with nftables); that is the point, and the danger: look at what the line
    asks for before it becomes true. ``pve-firewall compile`` exits 0 on lines that it ignores and proves nothing.

References
    https://pve.proxmox.com/wiki/Firewall
    https://git.proxmox.com/?p=pve-firewall.git;a=blob;f=src/PVE/Firewall.pm
    https://git.proxmox.com/?p=proxmox-ve-rs.git;a=tree;f=proxmox-ve-config/src/firewall
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _fwlines, _guests, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import FirewallLine, Proxmox


@check(reads=("platform",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """List the lines, the worst for the live program first."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if not node.misread and not node.misplaced:
        if why := _guests.unreadable(view, "guests"):
            return unknown(why)
        return passed("both programs read every line of the firewall's files alike")
    live = "proxmox-firewall" if node.implementation == "nftables" else "pve-firewall"
    worst = sorted(node.misread, key=lambda line: -_severity(line, live).rank)
    files = list(dict.fromkeys(line.file for line in worst))[:3] or node.misplaced
    return view.fail(
        Grade.RISK,
        _summary(node, worst, live),
        severity=_severity(worst[0], live) if worst else Severity.LOW,
        evidence={
            "live": live if node.implementation in {"iptables", "nftables"} else f"{live} (switched off)",
            "lines": [_as_evidence(line) for line in worst],
            "nothing_reads": node.misplaced,
        },
        reproduce=f"cat -A {' '.join(map(_say.quote, files))}; pve-firewall compile > /dev/null",
        disproof="`pvesh get /nodes/$(hostname -s)/firewall/options` shows the option with the value of that line.",
        owner=live,
        advice=_fwlines.advice(worst, node.misplaced),
        cause=f"the firewall's files: {', '.join(sorted({line.why for line in worst} | _stray(node)))}",
    )


def _stray(node: Proxmox) -> set[str]:
    return {"a file that nothing reads"} if node.misplaced else set()


def _severity(line: FirewallLine, live: str) -> Severity:
    if line.refuses and live == "proxmox-firewall":
        return Severity.HIGH
    ignored = line.perl is None if live == "pve-firewall" else line.rust is None
    harmless = line.why in {"unknown", "section", "rule"} and not line.key
    return Severity.MEDIUM if ignored and not harmless else Severity.LOW


def _summary(node: Proxmox, lines: list[FirewallLine], live: str) -> str:
    if not lines:
        return f"nothing reads {node.misplaced[0]}"
    first = lines[0]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    place = f"{first.file.rpartition('/')[2]}:{first.line}"
    if first.refuses and live == "proxmox-firewall":
        return f"{place}: proxmox-firewall refuses the whole file{more}"
    ignored = first.perl is None if live == "pve-firewall" else first.rust is None
    who = live if ignored else ({"pve-firewall", "proxmox-firewall"} - {live}).pop()
    what = first.key if first.key and len(first.key) < 30 else "this line"
    return f"{place}: {who} does not take {what}{more}"


def _as_evidence(line: FirewallLine) -> dict[str, Any]:
    return {
        "rule": f"{line.file}:{line.line}: {line.text}",
        "why": _fwlines.WHY.get(line.why, line.why),
        "pve-firewall": _fwlines.effect(line.perl),
        "proxmox-firewall": "refuses the whole file" if line.refuses else _fwlines.effect(line.rust),
        "write": _fwlines.safe_form(line),
    }
