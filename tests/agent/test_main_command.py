"""The command line, what a failing collector costs, and the document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from hostaudit_agent import __main__ as command
from hostaudit_agent import document, reader
from hostaudit_agent.budget import Budget
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import Snapshot, Unread

if TYPE_CHECKING:
    from collections.abc import Callable


def test_help_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--interval", "--all-netns", "--census", "--root", "--budget"):
        assert option in shown
    for arguments in (
        ["--wat"],
        ["--interval"],
        ["--interval", "soon"],
        ["--interval=-1"],
        ["--interval=nan"],
        ["--root", "/nonexistent"],
        ["--census=yes"],
        ["--budget"],
        ["--budget", "cpu"],
        ["--budget=cpu=-1"],
        ["--budget=wall=inf"],
        ["--budget=disk=1"],
        ["extra"],
    ):
        assert command.main(arguments) == 2, arguments
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1


def test_options() -> None:
    assert command.parse([]) == command.Options(2.0, all_netns=False, census=False, root="/")
    assert command.parse(["--interval=0.5", "--all-netns", "--census", "--root", "/usr"]) == command.Options(
        0.5, all_netns=True, census=True, root="/usr"
    )
    assert command.parse(["--budget=cpu=2.5,answer=0"]).budget == Budget(cpu=2.5, answer=0)


class Failing:
    """A collector that fails as it is told."""

    def __init__(self, error: Exception, sampled: Exception | None = None) -> None:
        self.error, self.sampled = error, sampled

    def sample(self, _root: Root) -> None:
        if self.sampled:
            raise self.sampled

    def collect(self, _root: Root, _before: object, unread: Callable[[str, str], None]) -> str:
        unread("part", "half of it")
        if isinstance(self.error, StopIteration):
            return "read"
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied", "/proc/x"), "Permission denied: /proc/x"),
        (OSError(95, "Operation not supported"), "Operation not supported"),
        (TimeoutError("no answer"), "no answer"),
        (UnreadableError("needs CAP_NET_ADMIN"), "needs CAP_NET_ADMIN"),
        (KeyError("x"), "bug in the agent: KeyError: 'x'"),
    ],
)
def test_one_surface_that_fails_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    modules = {"hostaudit_agent.collectors.a": Failing(error), "hostaudit_agent.collectors.b": Failing(StopIteration())}
    monkeypatch.setattr(reader, "import_module", modules.__getitem__)
    unread: list[Unread] = []
    one = reader.Reader(Root(netns="netns x"), ("a", "missing", "b"), unread, census=False)
    one.sample()
    assert one.collect() == {"b": "read"}
    assert [(u.surface, u.reason, u.netns) for u in unread] == [
        ("missing", "bug in the agent: KeyError: 'hostaudit_agent.collectors.missing'", "netns x"),
        ("a.part", "half of it", "netns x"),
        ("a", expected, "netns x"),
        ("b.part", "half of it", "netns x"),
    ]


def test_a_first_sample_that_fails_costs_the_delta_only(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(StopIteration(), sampled=OSError(16, "Device or resource busy"))
    monkeypatch.setattr(reader, "import_module", lambda _name: failing)
    unread: list[Unread] = []
    one = reader.Reader(Root(), ("a",), unread, census=False)
    one.sample()
    assert one.collect() == {"a": "read"}
    assert unread[-1] == Unread("a.delta", "Device or resource busy")


def test_the_document_is_the_snapshot() -> None:
    snapshot = command.take(command.Options(interval=0.01))
    snapshot.unread.append(Unread("x", "control \x1b characters, \ud800 and \u20ac"))
    text = document.as_json(snapshot)
    assert text.isascii()
    snapshot.unread.pop()
    assert msgspec.json.decode(document.as_json(snapshot), type=Snapshot) == snapshot
