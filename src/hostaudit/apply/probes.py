"""Is the network still what it was? Probes before and after a change; what worked before must work after.

``tcp ADDRESS:PORT``    a TCP handshake from the controller, declared in ``hostaudit_probes`` of a host or group
``gateway ADDRESS``     an ICMP echo from the host to the gateway of its default route
``ssh``                 is not here: every reading and every question is a new connection already
"""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.apply.guard import Reply
    from hostaudit.model import Host

VARIABLE = "hostaudit_probes"
TIMEOUT = 3.0
"""Seconds for a handshake: one retransmission of the SYN (after 1 s) is seen."""
TRIES = 2
_TARGET = re.compile(r"(?P<address>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]]+):(?P<port>\d{1,5})")


def declared(hosts: Iterable[Host]) -> dict[str, tuple[str, ...]]:
    """Return the targets by host. Raises UsageError that names host and target."""
    found = {}
    for host in hosts:
        given: Any = host.variables.get(VARIABLE, ())
        given = given.split(",") if isinstance(given, str) else given
        if not isinstance(given, list | tuple):
            raise UsageError(f'{host.name}: {VARIABLE} is a list, as in ["10.0.0.100:5432"], not {given!r}')
        for target in given:
            parse(str(target).strip(), f"{host.name}: {VARIABLE}")
        found[host.name] = tuple(str(target).strip() for target in given)
    return found


def parse(target: str, place: str) -> tuple[str, int]:
    """Return address and port of ``10.0.0.100:5432`` or ``[2001:db8::1]:443``. Raises UsageError."""
    match = _TARGET.fullmatch(target)
    if not match or not 0 < int(match["port"]) < 65536:
        raise UsageError(f"{place}: {target!r} is not ADDRESS:PORT, as in 10.0.0.100:5432 or [2001:db8::1]:443")
    return match["address"].strip("[]"), int(match["port"])


def handshakes(targets: Iterable[str]) -> dict[str, bool]:
    """Try every target, side by side; each gets a second chance."""
    wanted = sorted(set(targets))
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(32, len(wanted))) as pool:
        return dict(zip(wanted, pool.map(_handshake, wanted), strict=True))


def results(
    hosts: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    tried: Mapping[str, bool],
    replies: Mapping[str, Reply],
) -> dict[str, dict[str, bool]]:
    """Put the probes of each host together: name of the probe -> whether it worked."""
    found = {}
    for host in hosts:
        mine = {f"tcp {target}": tried[target] for target in targets.get(host, ())}
        reply = replies.get(host)
        mine |= {f"gateway {a}": worked for a, worked in (reply.gateways if reply else {}).items()}
        found[host] = mine
    return found


def lost(before: Mapping[str, bool], after: Mapping[str, bool]) -> list[str]:
    """Return a phrase for each probe that worked before and does not now; one that failed before does not count.

    A gateway that is not there any more is lost, too.
    """
    return [
        f"{probe} worked before the change and fails now"
        for probe, worked in sorted(before.items())
        if worked and not after.get(probe, False)
    ]


def _handshake(target: str) -> bool:
    address, port = parse(target, VARIABLE)
    for _ in range(TRIES):
        try:
            with socket.create_connection((address, port), TIMEOUT):
                return True
        except OSError:
            continue
    return False
