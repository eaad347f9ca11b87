"""Connections come and go at their usual pace.

What it reads
    ``Tcp.ActiveOpens``, ``PassiveOpens`` and ``AttemptFails``, and ``TcpExt.ListenDrops``, of two samples, in each
    network namespace. What is usual: the host's own average since boot when it has been up for a day, else the median
    of two or more peers of its cohort.

Why it matters
    After a failure all clients connect again at once, and again as soon as that fails, without a pause or with the same
    one. Queues overflow, every attempt costs a timeout, and the service is kept down by those who wait for it.

Active when
    ``per_second`` attempts or more, ``factor`` times what is usual, and ``failed_share`` of them come to nothing. The
    same without anything to compare with is a risk: a run of some seconds cannot tell a storm from a rush hour. Where
    next to nothing fails it is no storm, however many there are.

How it is remedied
    In the clients: back off with jitter, cap the pools, break the circuit after a few failures. On the server, let in
    as many as it can serve and refuse the others at once. Longer queues make the storm last longer.

Fix safety
    Nothing is changed here. Restarting the service starts the next storm.

References
    https://www.rfc-editor.org/rfc/rfc9293#section-3.8.1
    https://docs.kernel.org/networking/snmp_counter.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, _sockets, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_NAMES = "TcpPassiveOpens TcpActiveOpens TcpAttemptFails TcpExtListenDrops"


@check(
    reads=("counters",),
    severity=Severity.MEDIUM,
    thresholds={"per_second": 50, "factor": 10, "failed_share": 0.1},
)
def evaluate(view: View) -> Finding:
    """Compare the rate of attempts with what is usual, and see how many come to nothing."""
    rate = _sockets.rate(view)
    if rate is None:
        return unknown("one sample only: totals since boot do not tell what happens now")
    evidence = _sockets.shown_rate(view, rate)
    summary = f"{rate.opened:.1f} connections a second, {rate.failed:.1f} came to nothing"
    storm = rate.opened >= view.threshold("per_second")
    usual = rate.baseline is not None and rate.opened < view.threshold("factor") * rate.baseline
    if not storm or usual or rate.failed < view.threshold("failed_share") * rate.opened:
        return passed(summary, **evidence)
    culprit = _sockets.culprit(view)
    return view.fail(
        Grade.RISK if rate.baseline is None else Grade.ACTIVE,
        f"{rate.opened:.0f} connections a second, {rate.failed:.0f} came to nothing",
        severity=Severity.MEDIUM if rate.baseline is None else Severity.HIGH,
        evidence=evidence,
        reproduce=_say.shell(view, f"{_say.twice(f'nstat -az {_NAMES}', 10)}; ss -Htan state syn-recv | head"),
        disproof="The rate is the same on a day without trouble, or every attempt succeeds.",
        advice=(
            (f"Most are refused at {culprit}. " if culprit else "")
            + "Find the clients (`sources` of the evidence, or `ss -tan`): they have to back off with jitter and cap "
            "their pools. Addresses that never finish a handshake are a flood, not clients."
        ),
        cause="a storm of connections",
    )
