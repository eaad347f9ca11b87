"""Processes have file descriptors left.

What it reads
    Open descriptors of each process with 32 or more, against its limit (the soft RLIMIT_NOFILE), and ``fs.file-nr``
    for the whole machine.

Why it matters
    A connection is a descriptor. At the limit accept() and socket() fail with EMFILE: the port still answers, since
    the kernel completes handshakes by itself, and nobody takes the connections. They pile up in the accept queue, and
    what its clients see is a timeout.

Active when
    A process had reached its limit at both samples, or the machine ``fs.file-max``: the next open fails. It is a risk
    from ``risk_share`` of a limit on, high from ``high_share`` on.

How it is remedied
    Find out what the descriptors are first. Connections that are never closed are ``close-wait-leak``: a larger limit
    only postpones that. Where the limit is simply low, ``LimitNOFILE=`` in a drop-in of the unit, and a restart;
    ``prlimit --pid PID --nofile=N:N`` raises it while the process runs.

Fix safety
    A larger limit costs nothing by itself. Programs that use select() break on descriptors above 1023.

References
    https://man7.org/linux/man-pages/man2/getrlimit.2.html
    https://docs.kernel.org/admin-guide/sysctl/fs.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _sockets, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import OpenFiles


@check(reads=("processes",), severity=Severity.MEDIUM, thresholds={"risk_share": 0.7, "high_share": 0.9})
def evaluate(view: View) -> Finding:
    """Look for the process, or the machine, that is nearest to its limit."""
    found = view.snapshot.processes
    assert found is not None  # noqa: S101 - reads
    if view.netns:
        return not_applicable("processes are judged with the host, not with each network namespace")
    machine = found.files / found.files_max if found.files_max else 0.0
    near = [one for one in found.nearest if one.limit and one.open / one.limit >= view.threshold("risk_share")]
    shares = [one.open / one.limit for one in near]
    used = max([machine, *shares])
    evidence = {
        "processes": [_shown(one) for one in near or found.nearest[:2]],
        "fs.file-nr": {"open": found.files, "max": found.files_max},
    }
    if used < view.threshold("risk_share"):
        if why := view.unread("processes."):
            return unknown(why[0].reason)
        return passed(f"none of {found.seen} processes is near its limit", **evidence)
    if near and max(shares) >= machine:
        worst = max(near, key=lambda one: one.open / one.limit)
        summary = f"{_sockets.who(worst.process)[:31]} has {worst.open} of {worst.limit} descriptors open"
        pid = worst.process.pid
        see = f"ls /proc/{pid}/fd | wc -l; grep 'open files' /proc/{pid}/limits; ss -tanp | grep -c pid={pid},"
        unit = f" (unit {worst.process.unit})" if worst.process.unit else ""
        advice = (
            f"See what they are: `ls -l /proc/{pid}/fd`{unit}. Sockets in CLOSE_WAIT are a leak of the program; else "
            "raise LimitNOFILE of its unit and restart it, or `prlimit` for now."
        )
    else:
        summary = f"{found.files} of {found.files_max} files of the whole machine are open"
        each = "for p in /proc/[0-9]*; do echo $(ls $p/fd 2>/dev/null | wc -l) $p; done"
        see = f"sysctl fs.file-nr; {each} | sort -n | tail -5"
        advice = "Find the process that has them; raise fs.file-max only where all of them are meant to be open."
    active = machine >= 1 or any(one.before is not None and min(one.open, one.before) >= one.limit for one in near)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.HIGH if active or used >= view.threshold("high_share") else Severity.MEDIUM,
        evidence=evidence,
        reproduce=see,
        disproof="The number stays well below the limit at the busiest hour.",
        advice=advice,
        cause="file descriptors run out",
    )


def _shown(one: OpenFiles) -> dict[str, object]:
    return {"process": _sockets.shown(one.process), "open": one.open, "before": one.before, "limit": one.limit}
