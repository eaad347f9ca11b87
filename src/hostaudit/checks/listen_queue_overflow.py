"""Programs accept their connections as fast as they come.

What it reads
    ``TcpExt.ListenOverflows`` and ``ListenDrops`` of two samples, per network namespace; ``net.core.somaxconn``.

Why it matters
    When a listening socket's accept queue is full, the kernel drops the last ACK of the handshake: the client
    believes that it is connected, and waits. It looks like a slow network, and it is a program that does not call
    accept(), or asked for a short queue.

Active when
    ``ListenOverflows`` grew by more than ``active_per_second`` between the samples; high above ``high_per_second``.
    Slower than that it is a risk. Totals since boot alone never count: every long-lived host has some.

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

from hostaudit.checks import _backlog, _say, check
from hostaudit.model import Finding, Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View

_OVERFLOWS = "TcpExt.ListenOverflows"


@check(reads=("counters",), severity=Severity.MEDIUM, thresholds=_backlog.THRESHOLDS)
def evaluate(view: View) -> Finding:
    """Judge the rate at which accept queues overflow."""
    found = _backlog.rates(view, (_OVERFLOWS,))
    if isinstance(found, Finding):
        return found
    drops = _backlog.rates(view, (_OVERFLOWS, "TcpExt.ListenDrops"))
    rate = found[_OVERFLOWS]
    active = rate > view.threshold("active_per_second")
    high = rate > view.threshold("high_per_second")
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"full accept queues refused {rate:.1f} connections per second",
        severity=Severity.HIGH if high else Severity.MEDIUM if active else Severity.LOW,
        evidence=_backlog.evidence(view, found if isinstance(drops, Finding) else drops),
        reproduce=_say.shell(view, f"{_say.twice('nstat -az TcpExtListenOverflows TcpExtListenDrops')}; ss -ltn"),
        disproof="In `ss -ltn` no socket has a Recv-Q near its Send-Q while the counter moves.",
        remedy=_backlog.remedy(view, _backlog.SOMAXCONN),
        advice=(
            "Find the socket whose Recv-Q has reached its Send-Q (`ss -ltnp`): that program accepts too slowly, or "
            "listens with a short backlog. Raise its backlog and net.core.somaxconn together, then restart it."
        ),
        cause="accept queues overflow",
    )
