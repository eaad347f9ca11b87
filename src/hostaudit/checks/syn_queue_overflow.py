"""The queues of half-open connections have room.

What it reads
    ``TcpExt.TCPReqQFullDrop``, ``TCPReqQFullDoCookies`` and ``SyncookiesSent`` of two samples, per network namespace;
    ``tcp_syncookies``, ``tcp_max_syn_backlog`` and ``somaxconn``. For the evidence, handshakes that wait, by listener
    with its process, and by the client's network.

Why it matters
    With cookies on, a full queue costs new connections their window scaling and SACK; with cookies off, their SYN is
    dropped. It is a flood, a storm of clients that connect again without waiting, or a listener with a tiny backlog:
    the queue is as long as the backlog that the program asked for.

Active when
    SYNs were dropped (``TCPReqQFullDrop``) or answered by cookies faster than ``active_per_second`` between the
    samples; high above ``high_per_second`` when they are dropped. Slower than that it is a risk; totals never count.

How it is remedied
    Role ``tcp_backlog`` raises ``somaxconn`` and ``tcp_max_syn_backlog`` to 4096 where they are smaller. The latter
    only counts while cookies are off. Cookies stay on; on Proxmox pve-firewall keeps them on.

Fix safety
    A few hundred bytes for each half-open connection. It concerns sockets that begin to listen afterwards.

References
    https://docs.kernel.org/networking/ip-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _backlog, _say, _sockets, check
from hostaudit.model import Finding, Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View

_DROPPED, _COOKIES = "TcpExt.TCPReqQFullDrop", "TcpExt.TCPReqQFullDoCookies"
_SYNCOOKIES = "net.ipv4.tcp_syncookies"


@check(reads=("counters",), severity=Severity.MEDIUM, thresholds=_backlog.THRESHOLDS)
def evaluate(view: View) -> Finding:
    """Judge the rate at which SYN queues overflow, and what became of the SYNs."""
    found = _backlog.rates(view, (_DROPPED, _COOKIES, "TcpExt.SyncookiesSent"))
    if isinstance(found, Finding):
        return found
    dropped = found.get(_DROPPED, 0.0)
    cookies = max(found.get(_COOKIES, 0.0), found.get("TcpExt.SyncookiesSent", 0.0))
    rate = max(dropped, cookies)
    active = rate > view.threshold("active_per_second")
    high = dropped > view.threshold("high_per_second")
    what = "dropped" if dropped else "answered by cookies"
    writer = owners.writer(view.snapshot.platform, _SYNCOOKIES)
    setting = {_SYNCOOKIES: _say.number(view.snapshot.sysctl, _SYNCOOKIES)}
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"SYN queues are full: {rate:.1f} SYNs per second {what}",
        severity=Severity.HIGH if high else Severity.MEDIUM if active else Severity.LOW,
        evidence=_backlog.evidence(view, found) | setting,
        reproduce=_say.shell(
            view, f"{_say.twice('nstat -az TcpExtTCPReqQFullDrop TcpExtTCPReqQFullDoCookies')}; ss -tn state syn-recv"
        ),
        disproof="`ss -tn state syn-recv` is short for every listener while the counter moves.",
        owner=writer.name if writer and dropped else "",
        remedy=_backlog.remedy(view, _backlog.SOMAXCONN, _backlog.SYN_BACKLOG),
        advice=(
            (f"It is {culprit}. " if (culprit := _sockets.culprit(view)) else "")
            + (
                f"Most handshakes that wait are from {source}. "
                if (source := next(iter(_sockets.sources(view)), ""))
                else ""
            )
            + "See who sends the SYNs (`ss -tn state syn-recv`): many sources that never answer are a flood, your own "
            "clients are a storm of retries. Then raise the program's backlog and net.core.somaxconn; "
            "keep tcp_syncookies at 1."
        ),
        cause="SYN queues overflow" + (" and cookies are off" if dropped else ""),
    )
