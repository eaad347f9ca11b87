"""TCP's retransmissions do not come in beats.

What it reads
    One reading a second of ``Tcp.RetransSegs`` and of the bytes that passed, taken while ``--interval`` lasts, where
    that is a minute or more; cron tables, enabled timers of systemd and jobs of Proxmox VE. Without such a series it
    is not judged.

Why it matters
    Something saturates the network for a moment every minute, or every five: a backup, a sync, a scrape. Averages show
    nothing, the slowest requests stand at :00 and :30, and nobody who looks at the application finds a cause.

Active when
    At least ``beats`` bursts of ``spike_segments`` segments or more, each ``spike_ratio`` times the usual second, lie
    at equal distances of ``shortest_seconds`` or more, locked to one phase, with at most one in five missing. A period
    of a minute takes an interval of four minutes, one of five minutes takes sixteen.

How it is remedied
    Advice: limit the job that has this period (`bwlimit` of /etc/vzdump.conf, tc, a rate of its own), or move it.

Fix safety
    A job that is limited takes longer: see that it ends before it begins again.

References
    https://pve.proxmox.com/pve-docs/vzdump.1.html
    https://www.freedesktop.org/software/systemd/man/latest/systemd.timer.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _beats, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_LONG = "retransmissions were not read second by second; ask with --interval 300"


@check(
    reads=("counters",),
    severity=Severity.MEDIUM,
    thresholds={"beats": 4, "spike_ratio": 10, "spike_segments": 10, "shortest_seconds": 20},
)
def evaluate(view: View) -> Finding:
    """Look for a beat in the series."""
    series = view.snapshot.series
    if view.netns:
        return not_applicable("the series is read in the namespace that the agent was started in")
    if series is None:
        why = view.unread("series")
        return unknown(f"no series: {why[0].reason}") if why else not_applicable(_LONG)
    values, seconds = series.retransmitted, len(series.retransmitted)
    beats, shortest = view.threshold("beats"), view.threshold("shortest_seconds")
    ratio, least = view.threshold("spike_ratio"), view.threshold("spike_segments")
    if seconds < beats * shortest:
        return unknown(f"{seconds} s are too short for {beats:g} beats of {shortest:g} s; give a longer --interval")
    found = _beats.beat(values, ratio, least, shortest, beats)
    if found is None:
        bursts = len(_beats.bursts(values, ratio, least))
        longest = seconds / max(1, beats - 1)
        return passed(f"no beat of {shortest:g} to {longest:.0f} s in {seconds} s ({_say.plural(bursts, 'burst')})")
    jobs = _beats.jobs(series.jobs, found.period)
    named = f", as {jobs[0].name[:20]} does" if jobs else ""
    at = [round((series.started + start) % found.period, 1) for start in found.starts]
    return view.fail(
        Grade.ACTIVE,
        f"retransmissions come every {found.period:.0f} s{named}",
        evidence={
            "period_seconds": round(found.period, 1),
            "bursts": len(found.starts),
            "ratio": round(found.ratio, 1),
            "phase_seconds": at[0],
            "segments": [values[start] for start in found.starts][:16],
            "bytes": [series.octets[start] for start in found.starts if start < len(series.octets)][:16],
            "jobs": [{"name": job.name, "schedule": job.schedule, "file": job.file} for job in jobs[:8]],
            "seconds": seconds,
        },
        reproduce="n=0; while [ $n -lt 300 ]; do date +%T; nstat -sz TcpRetransSegs; sleep 1; n=$((n+1)); done",
        disproof="Stop the job for a few periods: the bursts go on.",
        advice=(
            f"Look at {jobs[0].name} ({jobs[0].file}, {jobs[0].schedule}): limit its bandwidth or move it."
            if jobs
            else "No job of this host has that period: look for one on the hosts it talks to, hypervisors included "
            "(cron, timers, vzdump, CronJobs, scrapes), then limit its bandwidth or move it."
        ),
        cause="retransmissions come in beats",
    )
