"""Programs keep their connections, instead of opening a new one for every request.

What it reads
    ``Tcp.ActiveOpens`` and ``PassiveOpens``, and ``TcpExt.TCPTimeWaitOverflow``, of two samples, in each network
    namespace; the connection tracking table and its timeout for TIME_WAIT; the targets with the most local ports. What
    is usual is told as by ``connection-storm``.

Why it matters
    A connection outlives its end: for a minute as a socket in TIME_WAIT, for two as an entry of connection tracking.
    At 1000 a second these are 60000 sockets and 120000 entries that carry nothing, and a table that other flows need.

Active when
    Sockets were closed without TIME_WAIT because ``tcp_max_tw_buckets`` was reached between the samples. It is a risk
    when the connection tracking table is ``table_share`` full and, at this rate, ended connections hold
    ``entries_share`` of its entries, or the rate is ``factor`` times what is usual (5 a second at least). In a run of
    some seconds a rush looks the same as a habit: hence a risk only.

How it is remedied
    In the client: keep-alive, pools. A larger table, or a shorter TIME_WAIT of connection tracking
    (``conntrack-timeout-long``), only buys time.

Fix safety
    Nothing is changed here. A larger ``tcp_max_tw_buckets`` takes about 256 bytes for each socket.

References
    https://docs.kernel.org/networking/ip-sysctl.html
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, _sockets, _table, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_OVERFLOW = "TcpExt.TCPTimeWaitOverflow"
_TIME_WAIT = 120
"""Seconds, nf_conntrack_tcp_timeout_time_wait by default."""
_LEAST = 5
"""Connections a second below which no baseline counts, as in netdata's tcp_resets.conf."""


@check(
    reads=("counters",),
    severity=Severity.LOW,
    thresholds={"table_share": 0.7, "entries_share": 0.5, "factor": 3},
)
def evaluate(view: View) -> Finding:
    """Reckon what ended connections keep in use at this rate."""
    rate = _sockets.rate(view)
    counters, table = view.snapshot.counters, view.snapshot.conntrack
    if rate is None or counters is None:
        return unknown("one sample only: totals since boot do not tell what happens now")
    overflow = (counters.delta or {}).get(_OVERFLOW, 0)
    used = (_table.usage(table) or 0.0) if table and not _table.idle(table) else 0.0
    seconds = table.timeouts.get("tcp_time_wait", _TIME_WAIT) if table else _TIME_WAIT
    held = rate.opened * seconds / table.count if table and table.count else 0.0
    much = rate.baseline is not None and rate.opened >= view.threshold("factor") * max(rate.baseline, _LEAST)
    evidence = _sockets.shown_rate(view, rate) | {
        "time_wait_sockets": view.snapshot.sockets.states.get("TIME_WAIT", 0) if view.snapshot.sockets else None,
        "time_wait_refused": overflow,
        "conntrack_used": round(used, 3),
        "conntrack_share_of_ended": round(min(held, 1.0), 2),
        "targets": _sockets.targets(view),
    }
    fills = used >= view.threshold("table_share") and (held >= view.threshold("entries_share") or much)
    if not overflow and not fills:
        return passed(f"{rate.opened:.1f} connections a second are opened", **evidence)
    summary = f"{rate.opened:.0f} connections a second are opened, with the table {used:.0%} full"
    if overflow:
        summary = f"{rate.opened:.0f} connections a second: no room for {overflow} sockets in TIME_WAIT"
    return view.fail(
        Grade.ACTIVE if overflow else Grade.RISK,
        summary,
        severity=Severity.MEDIUM,
        evidence=evidence,
        reproduce=_say.shell(
            view,
            f"{_say.twice('nstat -az TcpActiveOpens TcpPassiveOpens TcpExtTCPTimeWaitOverflow', 10)}; ss -s",
        ),
        disproof="The rate falls to a tenth within minutes, and the table with it.",
        advice=(
            "Find who opens them (`targets` of the evidence; `ss -Htan state time-wait`), and let that program keep "
            "its connections. "
            + ("Until then raise net.ipv4.tcp_max_tw_buckets." if overflow else "A larger table only buys time.")
        ),
        cause="a new connection for every request",
    )
