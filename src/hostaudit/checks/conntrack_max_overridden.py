"""The limit of the connection tracking table is the one that was configured.

What it reads
    ``nf_conntrack_max`` as it runs, the line of the sysctl files that wins at boot, ``nf_conntrack_max`` of host.fw,
    and which programs of this host write the limit.

Why it matters
    The usual answer to a full table is a line in /etc/sysctl.d. Where the Proxmox firewall is on, pve-firewall puts
    262144 back within 10 s; kube-proxy sets its own number when it starts. The table is full again, the file says it
    cannot be. host.fw has traps of its own: pve-firewall accepts values below 262144 and ignores them, and rounds up
    larger ones to a multiple of 8192.

Active when
    Never: it is a risk while configuration and kernel differ and an owner of the value is present. Without an owner
    the same difference is a finding of ``sysctl-drift``.

How it is remedied
    At the owner: role ``pve_firewall`` sets ``nf_conntrack_max`` in host.fw; for kube-proxy the advice is the text
    of its ConfigMap. The line in sysctl.d then says the same or goes away.

Fix safety
    As for ``conntrack-table-full``: memory for the entries, nothing is interrupted.

References
    https://pve.proxmox.com/wiki/Firewall
    https://github.com/kubernetes/kubernetes/pull/120448
    https://github.com/kubernetes/kubernetes/pull/137002
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _table, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_SHORT = "nf_conntrack_max"


@check(reads=("conntrack", "sysctl", "platform"), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare what runs with host.fw and with the sysctl files, where something else writes the value."""
    table, sysctl, platform = view.snapshot.conntrack, view.snapshot.sysctl, view.snapshot.platform
    assert table is not None  # noqa: S101 - reads
    assert sysctl is not None  # noqa: S101 - reads
    if view.netns or not table.loaded:
        return not_applicable("all namespaces share the limit" if table.loaded else "connection tracking is not loaded")
    writer = owners.writer(platform, owners.CONNTRACK_MAX)
    if writer is None:
        return not_applicable("nothing on this host writes the limit again")
    if table.max is None:
        return unknown("the limit could not be read")
    knob = sysctl.knobs.get(owners.CONNTRACK_MAX)
    in_file = knob.configured if knob else None
    in_host_fw = owners.option(platform, _SHORT)
    name = writer.name
    evidence: dict[str, Any] = {
        "running": table.max,
        "sysctl": {"value": in_file.value, "at": f"{in_file.file}:{in_file.line}"} if in_file else None,
        "host_fw": in_host_fw,
        "owner": {"name": name, "writes": writer.when},
    }
    if platform and name == "kube-proxy":
        evidence["kube_proxy_default"] = _table.kube_proxy_default(platform)
    if in_host_fw is not None and in_host_fw.isdecimal() and writer.option:
        pve = name == "pve-firewall"  # the other one writes the number as it stands
        wanted = -(-int(in_host_fw) // owners.PVE_STEP) * owners.PVE_STEP if pve else int(in_host_fw)
        if pve and wanted < owners.PVE_FLOOR:
            return _fail(
                view, f"host.fw asks for {in_host_fw}: pve-firewall ignores that and keeps {table.max}", evidence
            )
        if wanted != table.max:
            return _fail(
                view, f"host.fw asks for {in_host_fw}, {table.max} runs: the firewall does not apply it", evidence
            )
    if in_file is None or in_file.value.split() == [str(table.max)]:
        return passed(f"{table.max} runs, and no file asks for another limit", **evidence)
    if not in_file.value.isdecimal():
        return unknown(f"{in_file.file}:{in_file.line} sets {in_file.value!r}, which is no number")
    return _fail(view, f"sysctl.d asks for {in_file.value}, {name} keeps {table.max}", evidence, int(in_file.value))


def _fail(view: View, summary: str, evidence: dict[str, Any], wanted: int = 0) -> Finding:
    """Return the failure; ``wanted`` is the limit that a sysctl file asks for, 0 where host.fw is what is wrong."""
    name = evidence["owner"]["name"]
    size = -(-wanted // owners.PVE_STEP) * owners.PVE_STEP
    pve = name != "kube-proxy"
    possible = size > owners.PVE_FLOOR or (size == owners.PVE_FLOOR and name == "proxmox-firewall")
    if not wanted:
        advice = (
            "Values below 262144 have no effect with pve-firewall, and larger ones are rounded up to a multiple of "
            "8192. If the value is neither, see `journalctl -u pve-firewall`: it skips conntrack's settings when "
            "applying the rules failed."
        )
    elif pve and not possible:
        advice = f"{name} never goes below {owners.PVE_FLOOR}: remove the line of {evidence['sysctl']['at']}."
    else:
        advice = f"{_table.how(view, size if pve else wanted)} Then drop the line of {evidence['sysctl']['at']}."
    return view.fail(
        Grade.RISK,
        summary,
        evidence=evidence,
        reproduce=(
            "sysctl net.netfilter.nf_conntrack_max; grep -rs nf_conntrack_max /etc/sysctl.conf /etc/sysctl.d "
            "/run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /etc/pve/local/host.fw"
        ),
        disproof="The running value is the configured one a minute after `sysctl -w` set it.",
        owner=name,
        remedy=_table.remedy(view, size) if wanted and pve and possible else None,
        advice=advice,
        cause=f"{name} keeps another nf_conntrack_max than configured",
    )
