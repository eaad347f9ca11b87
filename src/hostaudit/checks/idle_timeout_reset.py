"""Keepalives come before anything on the path forgets an idle connection.

What it reads
    ``net.ipv4.tcp_keepalive_time``; the time after which this host's connection tracking forgets an idle connection
    (``nf_conntrack_tcp_timeout_established``), where it tracks; the shortest idle timeout of a firewall or load
    balancer on the path, as the policy declares it (``middlebox_seconds``; 0: none is known). How many connections
    send keepalives at all.

Why it matters
    Who forgets a connection drops its next packet or answers with a reset: connections die after exactly so many idle
    seconds, in pools and consoles first. The first keepalive comes after two hours by default. Load balancers of
    clouds forget after 60 to 600 s, and none of them tells the host.

Active when
    Never: an idle connection is lost in one moment, and not counted anywhere. It is a risk when the first keepalive
    comes as late as that timeout or later.

How it is remedied
    Role ``sysctl`` sets ``tcp_keepalive_time`` to half of the timeout. It only helps sockets that ask for keepalives
    (SO_KEEPALIVE) without a time of their own; a program's own heartbeat is better. Or a longer timeout where that is
    yours.

Fix safety
    One small packet for each idle connection and interval. It holds for sockets at their next idle period.

References
    https://docs.kernel.org/networking/ip-sysctl.html
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, _table, check, passed, unknown
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_TIME = "net.ipv4.tcp_keepalive_time"
_ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"


@check(reads=("sysctl", "conntrack"), severity=Severity.MEDIUM, thresholds={"middlebox_seconds": 0})
def evaluate(view: View) -> Finding:
    """Compare the time of the first keepalive with the timeouts that are known."""
    table, sockets = view.snapshot.conntrack, view.snapshot.sockets
    assert table is not None  # noqa: S101 - reads
    first = _say.number(view.snapshot.sysctl, _TIME)
    if first is None:
        return unknown(f"{_TIME} was not read")
    declared = int(view.threshold("middlebox_seconds"))
    own = 0 if _table.idle(table) else table.timeouts.get("tcp_established", 0)
    known = {"declared in the policy": declared, _ESTABLISHED: own}
    who, limit = min(((name, s) for name, s in known.items() if s), key=lambda one: one[1], default=("", 0))
    evidence = {
        _TIME: first,
        "timeouts": {name: seconds for name, seconds in known.items() if seconds},
        "established": sockets.states.get("ESTABLISHED", 0) if sockets else None,
        "with_keepalive": sockets.keepalive if sockets else None,
    }
    if not limit or first < limit:
        return passed(f"the first keepalive comes after {first} s", **evidence)
    wanted = max(limit // 2, 1)
    return view.fail(
        Grade.RISK,
        f"idle connections are forgotten after {limit} s, the first keepalive is at {first} s",
        severity=Severity.MEDIUM if limit == declared else Severity.LOW,
        evidence=evidence,
        reproduce=_say.shell(view, f"sysctl {_TIME} {_ESTABLISHED}; ss -Htno state established | head"),
        disproof="The programs send something themselves more often (`ss -to`: their keepalive timer is shorter).",
        remedy=None if view.netns else Remedy("sysctl", {"sysctl_values": {_TIME: wanted}}),
        advice=(
            f"Set {_TIME}={wanted}, or the program's own keepalive or heartbeat below {limit} s ({who}). Sockets "
            "without SO_KEEPALIVE send none whatever the sysctl says: look for `timer:(keepalive` in `ss -to`."
        ),
        cause="keepalives come later than the idle timeout on the path",
    )
