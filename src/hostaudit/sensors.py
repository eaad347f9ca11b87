"""Has all hosts listen at once while something is tried: nothing begins before every sensor is known to hear.

Each host's agent says that it listens over the connection that brought it; what has failed by then is a result, too.
Then the caller's work is done, the sensors are told to stop, and their answers come back.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hostaudit import border
from hostaudit.collect import ask
from hostaudit.errors import HostauditError
from hostaudit.model import Unreachable
from hostaudit.task import RUN, Task
from hostaudit.trace.connections import Attempt
from hostaudit.trace.fleet import Node
from hostaudit_agent.capture.answer import Capture
from hostaudit_agent.probe import tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostaudit.model import Host
    from hostaudit.task import Answered, CollectOptions
    from hostaudit_agent.capture.sensor import Request

Result = TypeVar("Result")
LINGER = 0.3
"""Seconds that the sensors go on after the work: for the last answers on their way."""
OUTPUT = 16 << 20
_DECODER = msgspec.json.Decoder(Capture, strict=True)


def read(hosts: Sequence[Host], options: CollectOptions, notice: Callable[[str], object]) -> list[Node]:
    """Read the hosts without listening: their snapshot and the tables of their bridges."""
    from hostaudit.bundle import build

    task = Task(("capture", "{}"), RUN, _decode)
    said = ask([(host, task) for host in hosts], build(), replace(options, max_output=OUTPUT), notice=notice)
    return [_node(one) for one in said]


def listen(
    hosts: Sequence[Host],
    request: Request,
    options: CollectOptions,
    work: Callable[[Sequence[str]], Result],
    notice: Callable[[str], object],
) -> tuple[list[Node], Result]:
    """Return what each host heard, and what ``work`` returned. ``work`` gets the names of the hosts that are ready."""
    from hostaudit.bundle import build

    ready: queue.SimpleQueue[tuple[str, Callable[[bytes], object] | None]] = queue.SimpleQueue()

    def task(host: Host) -> Task:
        words = ("capture", json.dumps(asdict(request)))
        return Task(words, request.seconds + RUN, _decode, live=lambda send: ready.put((host.name, send)))

    answers: list[Answered | Unreachable] = []
    failure: list[BaseException] = []
    wide = replace(options, forks=max(options.forks, len(hosts)), max_output=OUTPUT)

    def run() -> None:
        try:
            jobs = [(host, task(host)) for host in hosts]
            answers.extend(ask(jobs, build(), wide, lambda one: ready.put((one.host.name, None)), notice))
        except BaseException as problem:  # noqa: BLE001 - it is raised again on the calling thread
            failure.append(problem)
            for host in hosts:
                ready.put((host.name, None))

    thread = threading.Thread(target=run, daemon=True, name="hostaudit-sensors")
    thread.start()
    senders: dict[str, Callable[[bytes], object]] = {}
    heard_of: set[str] = set()
    while len(heard_of) < len(hosts):
        name, send = ready.get()
        heard_of.add(name)
        if send:
            senders[name] = send
    try:
        result = work(sorted(senders))
        time.sleep(LINGER)
    finally:
        for send in senders.values():
            with suppress(OSError, EOFError):
                send(b"stop\n")
    thread.join()
    if failure:
        raise failure[0]
    return [_node(one) for one in answers], result


class _Tried(msgspec.Struct):
    """What a vantage point's agent answered."""

    tcp: list[tcp.Connection] = []
    errors: dict[str, str] = {}


_TRIED = msgspec.json.Decoder(_Tried)


def connect(request: tcp.Request, client: Host | None, options: CollectOptions) -> list[Attempt]:
    """Make the connections on a host, or here. Raises HostauditError where that vantage point cannot."""
    if client is None:
        return [_attempt(one) for one in tcp.run(request)]
    from hostaudit.bundle import build

    seconds = request.count * request.interval + 2 * request.timeout + RUN
    words = ("probe", json.dumps({"tcp": asdict(request)}))
    task = Task(words, seconds, lambda body, where: border.decoded(_TRIED, body, where))
    (said,) = ask([(client, task)], build(), options)
    if isinstance(said, Unreachable):
        raise HostauditError(f"no connection could be made from {client.name}: {said.reason}")
    if "tcp" in said.value.errors:
        raise HostauditError(f"no connection could be made from {client.name}: {said.value.errors['tcp']}")
    return [_attempt(one) for one in said.value.tcp]


def _attempt(one: tcp.Connection) -> Attempt:
    return Attempt(one.source, one.source_port, one.outcome, one.retransmits, one.origin)


def _node(one: Answered | Unreachable) -> Node:
    if isinstance(one, Unreachable):
        return Node(one.host, None, one.reason)
    return Node(one.host, one.value)


def _decode(body: bytes, where: str) -> Any:
    return border.decoded(_DECODER, body, where)
