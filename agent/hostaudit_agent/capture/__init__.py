"""Listens to one series of connections while others make them, and reads the node before and after.

``hostaudit-agent.pyz capture TASK`` takes one JSON document, the fields of ``Request``; it says that it is ready on its
live line, listens until that line or a bound ends it, and prints one JSON document. Without ``ports`` it only reads.
Needs CAP_NET_RAW; without it the answer says so in ``refused`` and has the rest.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hostaudit_agent import __version__
from hostaudit_agent.capture.answer import Capture
from hostaudit_agent.capture.live import Live
from hostaudit_agent.capture.sensor import Request, Sensor
from hostaudit_agent.reader import Reader
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

SURFACES = ("platform", "conntrack", "sysctl", "firewall", "link", "counters", "neighbour")


def capture(request: Request | None, live: Live) -> Capture:
    """Read, listen, read again."""
    snapshot = Snapshot(__version__, 0.0, 0.0, privileged=os.geteuid() == 0)
    answer = Capture(snapshot)
    reader = Reader(Root(), SURFACES, snapshot.unread, census=False)
    reader.sample()
    began = time.monotonic()
    sensor = None
    if request is not None:
        try:
            sensor = Sensor(request)
        except PermissionError:
            answer.refused = "listening needs CAP_NET_RAW: log in as root, or give -b"
        except (OSError, ImportError, ValueError, OverflowError) as problem:
            answer.refused = f"no packet socket: {problem}"
        live.ready()
    if sensor:
        answer.heard = sensor.listen(live)
    elif request is not None and live.stop is not None:
        with suppress(OSError):  # the counters are to be those of the same time
            _wait(live.stop, request.seconds)
    snapshot.interval = round(time.monotonic() - began, 3)
    for surface, value in reader.collect().items():
        setattr(snapshot, surface, value)
    snapshot.taken = round(time.time(), 3)
    with suppress(OSError):
        from hostaudit_agent.capture.fdb import read  # noqa: PLC0415 - as late as what it needs

        answer.fdb = read(dict(socket.if_nameindex()))
    return answer


def _wait(descriptor: int, seconds: float) -> None:
    import select  # noqa: PLC0415 - only here

    select.select([descriptor], [], [], seconds)


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    try:
        task: dict[str, Any] = json.loads(arguments[0])
        request = Request(**task) if "ports" in task else None
    except (IndexError, ValueError, TypeError):
        sys.stderr.write(
            "hostaudit-agent: capture takes one JSON object; `hostaudit trace` of the controller makes it\n"
        )
        return 2
    from hostaudit_agent.document import as_json  # noqa: PLC0415 - it imports this package

    try:
        sys.stdout.write(as_json(capture(request, Live())) + "\n")
    except KeyboardInterrupt:
        return 130
    return 0
