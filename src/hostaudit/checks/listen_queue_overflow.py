"""Programs accept their connections as fast as they come.

What it reads
    ``TcpExt.ListenOverflows`` and ``ListenDrops`` of two samples, per network namespace; ``net.core.somaxconn``. For
    the evidence, what each listening socket dropped (``sk_drops``), how full its queue is, and which process has it.
    What an installed agent saw of the counters in the last 24 hours.

Why it matters
    When a listening socket's accept queue is full, the kernel drops the last ACK of the handshake: the client
    believes that it is connected, and waits. It looks like a slow network, and it is a program that does not call
    accept(), or asked for a short queue.

Active when
    ``ListenOverflows`` grew by more than ``active_per_second`` between the samples; high above ``high_per_second``.
    Slower than that it is a risk, and so is what an installed agent saw at that rate, with its time. Totals since boot
    alone never count: every long-lived host has some.

How it is remedied
    Role ``tcp_backlog`` raises ``somaxconn`` to 4096 where it is smaller. It only caps what the program asks for: the
    program has to ask for more too, and to be restarted, and it has to keep up.

Fix safety
    It concerns only sockets that begin to listen afterwards. A longer queue turns a fast failure into a wait.

References
    https://docs.kernel.org/networking/ip-sysctl.html
    https://man7.org/linux/man-pages/man2/listen.2.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _backlog, _ring, _say, _sockets, check
from hostaudit.model import Finding, Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View

_OVERFLOWS = "TcpExt.ListenOverflows"


@check(reads=("counters",), severity=Severity.MEDIUM, thresholds=_backlog.THRESHOLDS)
def evaluate(view: View) -> Finding:
    """Judge the rate at which accept queues overflow."""
    found = _backlog.rates(view, (_OVERFLOWS,))
    past = [o for o in _ring.series(view, _OVERFLOWS) if o.most > view.threshold("active_per_second")]
    if isinstance(found, Finding):
        if not past:
            return found
        found = {_OVERFLOWS: 0.0}
    drops = _backlog.rates(view, (_OVERFLOWS, "TcpExt.ListenDrops"))
    rate = found[_OVERFLOWS]
    active = rate > view.threshold("active_per_second")
    high = rate > view.threshold("high_per_second")
    summary = f"full accept queues refused {rate:.1f} connections per second"
    if past and not active:
        summary = f"full accept queues refused {past[0].burst} connections {_ring.when(past[0])}"
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.HIGH if high else Severity.MEDIUM if active else Severity.LOW,
        evidence=_backlog.evidence(view, found if isinstance(drops, Finding) else drops) | _ring.evidence(view, past),
        reproduce=_say.shell(view, f"{_say.twice('nstat -az TcpExtListenOverflows TcpExtListenDrops')}; ss -ltn"),
        disproof="In `ss -ltn` no socket has a Recv-Q near its Send-Q while the counter moves.",
        remedy=_backlog.remedy(view, _backlog.SOMAXCONN),
        advice=(
            f"It is {culprit}. It accepts too slowly, or listens with a short backlog. Raise its backlog and "
            "net.core.somaxconn together, then restart it; see also whether it has file descriptors left."
            if (culprit := _sockets.culprit(view))
            else "Find the socket whose Recv-Q has reached its Send-Q (`ss -ltnp`): that program accepts too slowly, "
            "or listens with a short backlog. Raise its backlog and net.core.somaxconn together, then restart it."
        ),
        cause="accept queues overflow",
    )
