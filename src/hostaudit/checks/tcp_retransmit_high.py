"""TCP sends next to nothing twice.

What it reads
    ``Tcp.RetransSegs`` and ``OutSegs`` of two samples, per network namespace; and what tells how it was lost:
    ``TCPSynRetrans``, ``TCPTimeouts``, ``TCPLostRetransmit``, ``TCPFastRetrans``.

Why it matters
    What is sent again was lost, or its acknowledgement was. One percent halves the throughput of a long path; five
    make programs time out. The host that sees it is the sender: the loss can be anywhere on the way.

Active when
    Between the samples at least ``least_segments`` were sent again, and that is ``active_share`` of the segments sent
    or more; high from ``high_share`` on. Below that nothing is said: every network loses some.

How it is remedied
    By no role: it is a symptom. Where another finding of the host explains it, the report puts it below that one.

Fix safety
    Nothing is changed. Raising retries or buffers hides the loss, and does not end it.

References
    https://docs.kernel.org/networking/snmp_counter.html
    https://www.rfc-editor.org/rfc/rfc6298
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_AGAIN, _SENT = "Tcp.RetransSegs", "Tcp.OutSegs"
_HOW = ("TCPSynRetrans", "TCPTimeouts", "TCPLostRetransmit", "TCPFastRetrans")


@check(
    reads=("counters",),
    severity=Severity.MEDIUM,
    thresholds={"active_share": 0.01, "high_share": 0.05, "least_segments": 20},
)
def evaluate(view: View) -> Finding:
    """Judge the share of segments that were sent again."""
    counters = view.snapshot.counters
    assert counters is not None  # noqa: S101 - reads
    if _AGAIN not in counters.totals:
        return unknown(f"the kernel has no counter {_AGAIN}")
    if counters.delta is None or view.snapshot.interval <= 0:
        return unknown("one sample only: totals since boot do not tell what happens now")
    again, sent = counters.delta.get(_AGAIN, 0), counters.delta.get(_SENT, 0)
    share = again / (sent + again) if again else 0.0
    how = {name: counters.delta.get(f"TcpExt.{name}", 0) for name in _HOW}
    evidence = {"again": again, "sent": sent, "share": round(share, 4), "how": how, "seconds": view.snapshot.interval}
    summary = f"{share:.1%} of TCP's segments were sent again ({again} in {_say.window(view)})"
    if again < view.threshold("least_segments") or share < view.threshold("active_share"):
        return passed(summary, **evidence)
    unanswered = how["TCPSynRetrans"] * 2 > again
    return view.fail(
        Grade.ACTIVE,
        summary,
        severity=Severity.HIGH if share >= view.threshold("high_share") else None,
        evidence=evidence,
        reproduce=_say.shell(
            view, _say.twice("nstat -asz TcpRetransSegs TcpOutSegs TcpExtTCPSynRetrans TcpExtTCPTimeouts")
        ),
        disproof="Over ten minutes the share stays far below a percent: it was one connection to a host that is away.",
        advice=(
            "Most are SYNs that nobody answers, or SYN-ACKs that are lost: `ss -Htn state syn-sent; ss -Htn state "
            "syn-recv` says to whom, and a filter or a route on the way there or back is where to look."
            if unanswered
            else "Find to whom: `ss -Htin | grep -B1 retrans`. All peers: this host's link, queue or filter. One "
            "network: the path to it; large packets only (small ones pass): the MTU."
        ),
        cause="TCP sends segments again" if not unanswered else "SYNs are not answered",
    )
