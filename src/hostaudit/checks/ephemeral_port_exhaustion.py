"""There are free local ports for further connections to every target.

What it reads
    Local ports in use from one address to one address and port, in each network namespace, against
    ``ip_local_port_range`` without ``ip_local_reserved_ports``; ``tcp_tw_reuse``.

Why it matters
    A connection is known by both addresses and both ports: to one target, from one address, there are as many as there
    are local ports, 28232 by default. When they are used up connect() fails with EADDRNOTAVAIL, to that target only,
    and long before that it takes longer and longer to find a free one. A client that opens a connection for each
    request gets there with 470 requests a second, since a closed one keeps its port for a minute (TIME_WAIT).

Active when
    ``active_share`` of the ports are in use: what is left is gone within moments, and each attempt has to search. From
    ``risk_share`` on it is a risk. Ports in TIME_WAIT do not count where the kernel gives them away again:
    ``tcp_tw_reuse`` is 1, or 2 (the default) and the target is on the loopback.

How it is remedied
    Reuse connections: keep-alive, a pool. A wider range, up to 1024 - 65535, gives little more than twice the ports;
    those of own services must be reserved first, so that is left to a person. Each further source or target address
    gives as many again.

Fix safety
    A wider range takes ports that a service may want to listen on later: put those into ``ip_local_reserved_ports``.
    ``tcp_tw_reuse`` = 1 is safe for clients with timestamps; it does nothing for a server.

References
    https://docs.kernel.org/networking/ip-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Target

_RANGE, _RESERVED, _REUSE = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_tw_reuse"


@check(
    reads=("sockets", "sysctl"),
    severity=Severity.MEDIUM,
    thresholds={"risk_share": 0.7, "active_share": 0.95},
)
def evaluate(view: View) -> Finding:
    """Compare the ports towards the busiest target with those that there are."""
    table = view.snapshot.sockets
    assert table is not None  # noqa: S101 - reads
    if not table.ports:
        return unknown(f"{_RANGE} was not read")
    reuse = _say.number(view.snapshot.sysctl, _REUSE)
    busiest = sorted(table.targets, key=lambda one: -_taken(one, reuse))
    taken = _taken(busiest[0], reuse) if busiest else 0
    share = taken / table.ports
    if share < view.threshold("risk_share"):
        if table.truncated:
            return unknown("there are more sockets than were counted")
        summary = f"at most {taken} of {table.ports} local ports to one target" if taken else "few ports in use"
        return passed(summary, targets=[_shown(one) for one in busiest[:3]])
    active = share >= view.threshold("active_share")
    target = busiest[0]
    address = _say.quote(target.target)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"{taken} of {table.ports} local ports ({share:.0%}) go to one target",
        severity=Severity.HIGH if active else Severity.MEDIUM,
        evidence={
            "targets": [_shown(one) for one in busiest[:4]],
            "ports": table.ports,
            _RANGE: _say.running(view.snapshot.sysctl, _RANGE),
            _RESERVED: _say.running(view.snapshot.sysctl, _RESERVED),
            _REUSE: reuse,
        },
        reproduce=_say.shell(view, f"ss -Htan dst {address} | wc -l; sysctl {_RANGE} {_RESERVED} {_REUSE}"),
        disproof="The number of sockets to that target stays far below the number of ports at the busiest hour.",
        advice=(
            f"To {target.target} from {target.source}: {target.time_wait} of {target.ports} are closed already "
            "(TIME_WAIT). Let the client keep connections open (keep-alive, a pool). Until then a wider "
            f"{_RANGE} (`1024 65535`, with the ports of own services in {_RESERVED}), or a second source address."
        ),
        cause="the local ports to one target run out",
    )


def _taken(one: Target, reuse: int | None) -> int:
    """Return the ports that a new connection cannot have."""
    loopback = one.target.startswith(("127.", "[::1]:"))
    return one.ports - one.time_wait if reuse == 1 or (reuse == 2 and loopback) else one.ports


def _shown(one: Target) -> dict[str, object]:
    return {"source": one.source, "target": one.target, "ports": one.ports, "time_wait": one.time_wait}
