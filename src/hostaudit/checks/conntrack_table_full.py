"""The connection tracking table has room for new flows.

What it reads
    ``nf_conntrack_count`` and ``nf_conntrack_max`` of each network namespace; conntrack's ``drop`` and
    ``early_drop``; the census of entries by state, source and target, where one was taken (by itself from
    half full on, or with ``--census``). The kernel's log corroborates; its line is limited in rate, so it decides
    nothing. What an installed agent saw in the last 24 hours is a risk, with its time.

Why it matters
    A full table drops the first packet of every new flow, of all protocols, at random; local programs get EPERM from
    send(). Before that the kernel evicts entries that never saw both directions (``early_drop``), which hurts UDP
    and half-open connections first. The limit holds for each namespace by itself. A host whose table is full may
    refuse the audit's own SSH connection: look at it from its console, or run the agent there by hand.

Active when
    ``early_drop`` grew between the samples, or ``drop`` grew while the table is ``risk_share`` full (it also counts
    other faults). Without movement: a risk from ``risk_share`` on, critical from ``critical_share`` on. An empty
    table whose statistics never moved is not tracking at all, and not judged.

How it is remedied
    Twice the limit, as a multiple of 8192, and the hash a quarter of it: role ``conntrack_table``, or role
    ``pve_firewall`` where the Proxmox firewall is on, which writes the limit again every 10 s. For kube-proxy the
    advice is the text of its ConfigMap. Look first at what fills the table: a limit cures no leak.

Fix safety
    It takes effect at once and interrupts nothing. Each entry takes about 320 bytes when used. A larger hash is
    built while the old one is in use; that is one moment of allocation, and it can fail on a host short of memory.

References
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _kernellog, _ring, _say, _table, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import RingSeries


@check(
    reads=("conntrack",),
    severity=Severity.HIGH,
    thresholds={"risk_share": 0.75, "critical_share": 0.90},
)
def evaluate(view: View) -> Finding:
    """Compare the number of entries with the limit, and see whether entries were refused or evicted."""
    table = view.snapshot.conntrack
    assert table is not None  # noqa: S101 - reads
    if why := _table.idle(table):
        return not_applicable(why)
    used = _table.usage(table)
    if used is None or table.max is None:
        return unknown("the number of entries or the limit could not be read")
    delta = table.delta or {}
    evicted = delta.get("early_drop", 0)
    dropped = delta.get("drop", 0)
    evidence = _table.contents(table) | {
        "used": round(used, 3),
        "seconds": view.snapshot.interval,
        "drop": {"total": table.stats.get("drop"), "delta": delta.get("drop")},
        "early_drop": {"total": table.stats.get("early_drop"), "delta": delta.get("early_drop")},
    }
    summary = f"{table.count} of {table.max} entries in use ({used:.0%})"
    active = evicted > 0 or (dropped > 0 and used >= view.threshold("risk_share"))
    past = [] if active else _earlier(view)
    if not active and not past and used < view.threshold("risk_share"):
        return passed(summary, **evidence)
    if active:
        summary = f"{summary}: {dropped} dropped, {evicted} evicted in {_say.window(view)}"
    elif past:
        summary = f"{_told(past)}; now {used:.0%} of {table.max} entries"
    size = _table.bigger(table.max)
    critical = active or used >= view.threshold("critical_share")
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.CRITICAL if critical else Severity.HIGH,
        evidence=evidence | _kernellog.evidence(view, "conntrack-full") | _ring.evidence(view, past),
        reproduce=_say.shell(
            view,
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; conntrack -S",
        ),
        disproof="nf_conntrack_count stays far below nf_conntrack_max for a busy hour, and early_drop stands still.",
        owner=_table.owner(view),
        remedy=_table.remedy(view, size),
        advice=f"{_table.how(view, size)} {_table.cost(table, size)} First see what fills it: `conntrack -L` by state.",
        cause="the connection tracking table is full" if critical else "the connection tracking table fills up",
    )


def _earlier(view: View) -> list[RingSeries]:
    """Return what an installed agent saw of a full table: the same measures as now."""
    use = next((one for one in _ring.series(view, _ring.USE)), None)
    filled = use is not None and use.most >= 100 * view.threshold("risk_share")
    refused = _ring.series(view, "conntrack.early_drop", *(["conntrack.drop"] if filled else []))
    found = [*refused, *([use] if use and filled else [])]
    return [one for one in found if not _ring.changed(view, owners.CONNTRACK_MAX, one)]


def _told(past: list[RingSeries]) -> str:
    first = past[0]
    if first.name == _ring.USE:
        return f"{first.most:.0f}% in use {_ring.at(first.most_at)}"
    return f"{_say.plural(first.burst, 'flow')} refused {_ring.when(first)}"
