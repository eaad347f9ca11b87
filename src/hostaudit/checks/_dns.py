"""What the checks of DNS probes have in common. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _probe, _say

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.probed import Dns


def groups(fleet: Fleet) -> dict[tuple[str, int, str], list[Dns]]:
    """Return the lookups by name server, its port, and name."""
    found: dict[tuple[str, int, str], list[Dns]] = {}
    for one in _probe.seen(fleet).dns:
        found.setdefault((one.server, one.port, one.name), []).append(one)
    return found


def evidence(one: Dns) -> dict[str, Any]:
    """Return how long the answers took."""
    return {
        "from": one.vantage,
        "server": one.server,
        "port": one.port,
        "name": one.name,
        "lookup_ms": list(one.waited.get("absolute", ())),
        "answer_ms": {kind: list(times) for kind, times in one.times.items()},
        "rcodes": one.rcodes,
        "resolver_timeout_s": one.wait,
        "refused_by_conntrack": one.refused,
    }


def command(one: Dns) -> str:
    """Return the command that asks the same, as often."""
    asked = f"{_say.quote(one.name)} A {_say.quote(one.name)} AAAA"
    port = f" -p {one.port}" if one.port != 53 else ""
    dig = f"dig +tries=1 +time=2 @{_say.quote(one.server)}{port} {asked}"
    return f"for n in $(seq 20); do {dig} | grep -e 'Query time' -e 'timed out'; done"
