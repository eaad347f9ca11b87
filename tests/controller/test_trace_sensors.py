"""The line between controller and agent while a sensor listens, with the real agent on this machine."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit import sensors, tracing
from hostaudit.cli import main
from hostaudit.errors import HostauditError
from hostaudit.model import Host
from hostaudit.task import CollectOptions
from hostaudit_agent.capture.sensor import Request
from hostaudit_agent.probe import tcp

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Host("here", variables={"ansible_connection": "local"})
GONE = Host("gone", variables={"ansible_host": "127.0.0.1", "ansible_port": 1})
OPTIONS = CollectOptions(connect_timeout=5)


def said(_text: str) -> None:
    return


def test_work_begins_when_every_host_listens_or_cannot() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        request = Request(["127.0.0.1"], [61000, 61900], seconds=60)

        def work(ready: object) -> object:
            wanted = tcp.Request([tcp.Target("127.0.0.1", port)], count=2, interval=0, first=61100)
            return ready, [one.outcome for one in sensors.connect(wanted, None, OPTIONS)]

        began = time.monotonic()
        nodes, (ready, outcomes) = sensors.listen([HERE, GONE], request, OPTIONS, work, said)  # type: ignore[misc]
    assert time.monotonic() - began < 50, "the sensors were told to stop"
    assert (ready, outcomes) == (["here"], ["ok", "ok"])
    here, gone = nodes
    assert here.capture is not None
    assert gone.capture is None
    assert gone.reason
    if os.geteuid() != 0:
        assert "CAP_NET_RAW" in here.deaf
    else:
        assert here.capture.heard is not None
        assert here.capture.heard.ended == "asked"
        assert here.capture.heard.packets >= 6
        assert here.capture.snapshot.link is not None


def test_the_sensors_end_when_the_work_fails() -> None:
    def work(_ready: object) -> None:
        raise HostauditError("no")

    began = time.monotonic()
    with pytest.raises(HostauditError, match="no"):
        sensors.listen([HERE], Request([], [61000, 61001], seconds=300), OPTIONS, work, said)
    assert time.monotonic() - began < 30


def test_reading_does_not_listen() -> None:
    (node,) = sensors.read([HERE], OPTIONS, said)
    assert node.capture is not None
    assert (node.capture.heard, node.capture.refused) == (None, "")
    assert node.capture.snapshot.platform is not None


def test_options_mean_what_they_mean_to_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    def traced(options: Mapping[str, Any]) -> None:
        given.update(options)
        raise HostauditError("nothing is traced here")

    monkeypatch.setattr(tracing, "traced", traced)
    for name in ("--every", "--interval"):
        assert main(["trace", "127.0.0.1:1", "--send", "a\\r\\n", name, "0.5", "--from", "here"]) == 1
        assert (given["send"], given["every"]) == ("a\r\n", 0.5)
    assert tracing._client(given["from_"], []) is None
    assert main(["trace", "127.0.0.1:1", "--send", "\\x1"]) == 2
    assert "--send '\\\\x1': a backslash sequence that is none" in capsys.readouterr().err
