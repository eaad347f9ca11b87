"""The kernel runs what the files and host.fw configure.

What it reads
    Every knob that the agent reads and that a file below /etc, /run or /usr/local sets: the running value, and the
    line that wins at boot in the order of systemd-sysctl; the timeouts of host.fw; which programs write knobs.

Why it matters
    The two differ when somebody set a value by hand and the next boot takes it back, when another program writes the
    key again, or when the line was never applied: nf_conntrack and br_netfilter are often loaded after
    systemd-sysctl ran, and then all their lines are skipped in silence. Debian 13 no longer reads /etc/sysctl.conf.

Active when
    Never: it is a risk. Values are compared word by word. Left out are keys that cannot be set here (containers),
    keys of one interface that a pattern sets or that belong to a virtual interface (their makers set them), defaults
    of packages (they are shown), and ``nf_conntrack_max`` with an owner (``conntrack-max-overridden``).

How it is remedied
    Which of the two values is right is the operator's decision: the advice says how to keep either. A conntrack
    timeout that the Proxmox firewall overwrites is set in host.fw by role ``pve_firewall``. For modules that are
    loaded too late: a file in /etc/modules-load.d.

Fix safety
    Apply single keys (``sysctl -w``). ``sysctl --system`` also applies everything else that has drifted: on Proxmox
    it switches bridge-nf-call off and with it the guests' filters for up to 10 s, on a Cilium node it restores the
    distribution's rp_filter and cuts off pods.

References
    https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html
    https://www.freedesktop.org/software/systemd/man/latest/modules-load.d.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _drift, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Knob

_WEIGHTY = re.compile(r"net\.(netfilter|bridge)\..*|.*\.(rp_filter|ip_forward|forwarding|tcp_syncookies)")


@check(reads=("sysctl", "platform"), severity=Severity.LOW)
def evaluate(view: View) -> Finding:
    """Compare running and configured values, key by key."""
    sysctl = view.snapshot.sysctl
    assert sysctl is not None  # noqa: S101 - reads
    if view.netns:
        return not_applicable("files set nothing in this namespace: it began with the kernel's defaults")
    drifted: dict[str, _drift.Fact] = {}
    vendor: dict[str, str] = {}
    configured = {key: knob for key, knob in sysctl.knobs.items() if knob.configured is not None}
    for key, knob in sorted(configured.items()):
        if knob.configured is None or not _drift.differs(view, key, knob):
            continue
        if knob.configured.file.startswith(_drift.VENDOR):
            vendor[key] = f"{knob.running} runs, {knob.configured.value} by {knob.configured.file}"
        else:
            drifted[key] = _fact(view, key, knob)
    drifted |= _host_fw(view)
    dead = {file: why for file, why in sysctl.not_applied.items() if file == "/etc/sysctl.conf"}
    evidence = {
        "drifted": {k: f.as_evidence() for k, f in drifted.items()},
        "defaults_of_packages": vendor,
        "not_applied": sysctl.not_applied,
    }
    if not drifted and not dead:
        if missing := [u for u in view.unread("sysctl.") if _drift.matters(sysctl, u.surface.removeprefix("sysctl."))]:
            return unknown(f"{missing[0].surface.removeprefix('sysctl.')}: {missing[0].reason}")
        return passed(f"all sysctls that files configure run so ({len(configured)})", **evidence)
    weighty = any(_WEIGHTY.fullmatch(key) for key in drifted)
    return view.fail(
        Grade.RISK,
        _drift.summary(drifted),
        severity=Severity.MEDIUM if weighty else Severity.LOW,
        evidence=evidence,
        reproduce=f"sysctl {' '.join(map(_say.quote, drifted))}" if drifted else "ls -l /etc/sysctl.conf /etc/sysctl.d",
        disproof="The same values run after the next boot as run now.",
        owner=", ".join(sorted({fact.writer.name for fact in drifted.values() if fact.writer})),
        remedy=_drift.remedy(drifted),
        advice=_drift.advice(view, drifted, dead=bool(dead)),
        cause=f"run otherwise than configured: {', '.join(drifted)}" if drifted else "/etc/sysctl.conf is not read",
    )


def _fact(view: View, key: str, knob: Knob) -> _drift.Fact:
    assert knob.configured is not None  # noqa: S101 - the caller looked
    place = f"{knob.configured.file}:{knob.configured.line}"
    return _drift.Fact(knob.running, knob.configured.value, place, owners.writer(view.snapshot.platform, key))


def _host_fw(view: View) -> dict[str, _drift.Fact]:
    """Return the timeouts that host.fw sets and that do not run."""
    platform, sysctl = view.snapshot.platform, view.snapshot.sysctl
    found: dict[str, _drift.Fact] = {}
    for name in ("nf_conntrack_tcp_timeout_established", owners.PVE_UNWRITTEN):
        wanted, now = owners.option(platform, name), _say.running(sysctl, f"net.netfilter.{name}")
        if platform and platform.proxmox and owners.firewall(platform) and wanted and now and wanted != now:
            place = owners.host_fw(platform.proxmox)
            found[f"net.netfilter.{name}"] = _drift.Fact(
                now, wanted, place, owners.Writer(owners.firewall(platform), "from host.fw", f"[OPTIONS] of {place}")
            )
    return found
