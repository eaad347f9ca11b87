"""One trace: the hosts listen, connections are made, and what was heard is judged."""

from __future__ import annotations

import random
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hostaudit import inventory, sensors
from hostaudit.errors import UsageError
from hostaudit.guestmap import guest_map
from hostaudit.model import Collected, Unreachable
from hostaudit.probe.targets import parse, resolved
from hostaudit.probed import HERE
from hostaudit.progress import Progress
from hostaudit.trace.document import made
from hostaudit_agent.capture.sensor import Request
from hostaudit_agent.probe import tcp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.model import Host
    from hostaudit.probe.targets import Addressed
    from hostaudit.trace.connections import Attempt
    from hostaudit.trace.document import Trace
    from hostaudit.trace.fleet import Node

SLACK = 60.0
"""Seconds that a sensor waits longer than the connections take: until the last host is ready."""
SPARE = 50
"""Ports beyond the number of connections: those in use are skipped."""


def traced(options: Mapping[str, Any]) -> Trace:
    """Listen and connect; judge what was heard."""
    started = datetime.now(UTC)
    with Progress(quiet=options["quiet"], verbose=0) as progress:
        hosts, configured = inventory.chosen(options, progress.notice)
        target = _target(options["target"])
        client = _client(options["from_"], hosts)
        collecting = options["collecting"](configured)
        request = _request(options, target, client is None)
        if not options["quiet"]:
            progress.notice(f"{len(hosts)} hosts are asked to listen")

        def work(ready: Sequence[str]) -> list[Attempt]:
            if not options["quiet"]:
                progress.notice(
                    f"{len(ready)} of {len(hosts)} answer; {options['count']} connections to {target.target}"
                )
            return sensors.connect(_wanted(options, target, request.ports[0]), client, collecting)

        nodes, attempts = sensors.listen(hosts, request, collecting, work, progress.notice)
    answers = [_answer(node) for node in nodes]
    return made(
        nodes,
        guest_map(answers),
        attempts,
        target.address,
        target.port,
        target=target.target,
        vantage=client.name if client else HERE,
        started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
    )


def _target(text: str) -> Addressed:
    """Return the one address that is meant. Raises UsageError where a name has several."""
    found = resolved(parse(text))
    if len(found) > 1:
        names = ", ".join(one.address for one in found)
        raise UsageError(f"{text} has {len(found)} addresses; trace one of them: {names}")
    return found[0]


def _client(name: str | None, hosts: Sequence[Host]) -> Host | None:
    if not name or name == HERE:
        return None
    for host in hosts:
        if host.name == name:
            return host
    raise UsageError(f"--from {name}: no such host in the inventory (after --limit)")


def _request(options: Mapping[str, Any], target: Addressed, here: bool) -> Request:
    """Return what the sensors listen to; the client's ports are chosen at random, so that no old entry answers."""
    span = options["count"] + SPARE
    first = random.randint(tcp.PORTS[0], tcp.PORTS[1] - span) & ~1  # noqa: S311 - not a secret
    seconds = options["count"] * options["every"] + 2 * options["wait"] + SLACK
    addresses = [target.address, *_own_addresses(target)] if here else []
    frames = options["frames"] or max(20_000, 40 * options["count"])
    ports = [first, first + span]
    return Request(addresses, ports, target.port, seconds, frames, queue=options["queue"])


def _own_addresses(target: Addressed) -> list[str]:
    """Return the address that this machine has towards the target. A UDP socket is asked; nothing is sent."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((target.address, target.port))
        except OSError:
            return []
        return [str(sock.getsockname()[0])]


def _answer(node: Node) -> Collected | Unreachable:
    if node.capture is None:
        return Unreachable(node.host, "connect", node.reason, 0.0)
    return Collected(node.host, node.capture.snapshot, 0.0)


def _wanted(options: Mapping[str, Any], target: Addressed, first: int) -> tcp.Request:
    return tcp.Request(
        [tcp.Target(target.address, target.port)],
        count=options["count"],
        interval=options["every"],
        timeout=options["wait"],
        first=first,
        send=options["send"],
        expect=options["expect"],
        parallel=options["count"],
    )
