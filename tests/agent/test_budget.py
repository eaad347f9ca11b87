"""What does not fit into the budget is left unread, the cheapest surfaces are read first, and the answer comes."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hostaudit import bundle
from hostaudit.checks import all_checks
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host, Status
from hostaudit.policy import Policy
from hostaudit_agent import budget, document, reader
from hostaudit_agent.budget import Budget, BudgetError
from hostaudit_agent.collectors import sockets
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import SURFACES, Knob, Snapshot, Sysctl, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENOUGH = Budget(wall=0, cpu=0, memory=0, answer=0)


@pytest.fixture(autouse=True)
def _no_bounds_afterwards() -> Iterator[None]:
    yield
    budget.end()


class Clocks:
    """Time that passes only when somebody looks at it, one second a look."""

    def __init__(self, cpu: float) -> None:
        self.now, self.share = 0.0, cpu

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    def process_time(self) -> float:
        return self.now * self.share


class Surface:
    """A collector that reads some files."""

    def __init__(self, files: int) -> None:
        self.files = files

    def sample(self, root: Root) -> int:
        return sum(root.read_text("/proc/version") is not None for _ in range(self.files))

    def collect(self, root: Root, before: int | None, _unread: Callable[[str, str], None]) -> int:
        self.sample(root)
        return -1 if before is None else before


def reading(monkeypatch: pytest.MonkeyPatch, costs: dict[str, int], bounds: Budget) -> tuple[list[str], list[Unread]]:
    """Sample and collect surfaces that read so many files; return those that were read, and what was not."""
    modules = {f"hostaudit_agent.collectors.{name}": Surface(files) for name, files in costs.items()}
    monkeypatch.setattr(reader, "import_module", modules.__getitem__)
    monkeypatch.setattr(reader, "COSTS", {name: (0, files) for name, files in costs.items()})
    monkeypatch.setattr(budget, "time", Clocks(0.5))
    unread: list[Unread] = []
    keeper = budget.begin(bounds)
    one = reader.Reader(Root(), sorted(costs, reverse=True), unread, census=False)
    keeper.share(budget.SAMPLING)
    one.sample()
    keeper.share(budget.WHOLE)
    return list(one.collect()), unread


COSTS = {"dear": 400, "cheap": 2, "middle": 40}


def test_without_bounds_everything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reading(monkeypatch, COSTS, ENOUGH) == (["cheap", "middle", "dear"], [])


@pytest.mark.parametrize("name", ["wall", "cpu"])
def test_the_cheapest_are_read_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever the budget is, what was read is the cheap end of the list, and the rest says why."""
    seen = set()
    for seconds in (1, 5, 20, 60, 200, 400, 1000, 3000):
        bounds = ENOUGH._replace(**{name: float(seconds)})
        found, unread = reading(monkeypatch, COSTS, bounds)
        assert found == ["cheap", "middle", "dear"][: len(found)]
        assert {u.surface.partition(".")[0] for u in unread} >= {"cheap", "middle", "dear"} - set(found)
        assert all(u.reason.startswith("budget: ") for u in unread)
        seen.add(len(found))
    assert seen == {0, 1, 2, 3}


def test_the_first_samples_take_a_third_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A costly first sample costs the difference; the surface itself is read with the rest."""
    found, unread = reading(monkeypatch, {"dear": 400}, ENOUGH._replace(cpu=450.0))
    assert found == ["dear"]
    assert [(u.surface, u.reason) for u in unread] == [("dear.delta", "budget: 150 s of CPU time are used up")]


def test_the_pause_between_the_samples_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(0.0)
    monkeypatch.setattr(budget, "time", clocks)
    keeper = budget.begin(ENOUGH._replace(wall=100.0))
    keeper.paused(3600)
    clocks.now += 3600
    budget.check()
    clocks.now += 100
    with pytest.raises(BudgetError, match="100 s are over"):
        budget.check()


def test_a_walk_that_can_stop_takes_half_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert budget.fair(7.0) == 7.0, "nothing bounds it"
    clocks = Clocks(0.0)
    monkeypatch.setattr(budget, "time", clocks)
    budget.begin(ENOUGH._replace(wall=100.0))
    assert budget.fair(7.0) == 7.0
    clocks.now = 90
    assert 0 < budget.fair(7.0) <= 5
    clocks.now = 110
    with pytest.raises(BudgetError):
        budget.fair(7.0)


def test_the_price_of_a_surface_is_known() -> None:
    assert set(reader.COSTS) == set(SURFACES)
    ordered = [reader.COSTS[surface][1] for surface in reader.cheapest_first(SURFACES)]
    assert ordered == sorted(ordered)
    assert reader.cheapest_first(["new", "resolver"]) == ["resolver", "new"], "what nobody measured comes last"


def test_a_document_that_is_too_long_loses_its_largest_part() -> None:
    knobs = {f"net.ipv4.conf.veth{n}.rp_filter": Knob("0", writable=True) for n in range(5000)}
    snapshot = Snapshot("0", 0.0, 0.0, privileged=True, sysctl=Sysctl(knobs))
    snapshot.unread = [Unread("sysctl.x", "unreadable"), Unread("firewall", "needs CAP_NET_ADMIN")]
    assert len(document.within(snapshot, 0)) > 200_000
    assert snapshot.sysctl is not None
    text = document.within(snapshot, 0.1)
    assert len(text) < 0.1 * (1 << 20)
    again = msgspec.json.decode(text, type=Snapshot)
    assert again.sysctl is None
    assert [u.surface for u in again.unread] == ["firewall", "sysctl"]
    assert again.unread[1].reason.startswith("budget: ")


def test_a_check_says_that_it_is_the_budget() -> None:
    snapshot = Snapshot("0", 0.0, 0.0, privileged=True)
    snapshot.unread = [Unread("firewall", "budget: 10 s of CPU time are used up")]
    checks = {"conntrack-invalid-drop": all_checks()["conntrack-invalid-drop"]}
    (one,) = evaluate([Collected(Host("h1"), snapshot, 0.1)], Policy(), checks)
    assert one.status is Status.UNKNOWN
    assert "budget: 10 s of CPU time are used up" in one.summary


# ---- a real kernel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(bundle.build())
    return path


def run(agent: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> Snapshot:
    command = [*prefix, sys.executable, "-I", "-S", str(agent), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    return msgspec.json.decode(done.stdout, type=Snapshot)


@pytest.mark.parametrize("bounds", ["cpu=0.001", "wall=0.001"])
def test_the_answer_comes_without_any_budget(agent: Path, bounds: str) -> None:
    found = run(agent, "--interval=0.01", "--budget", bounds)
    assert {u.surface for u in found.unread} == set(SURFACES)
    assert all(u.reason.startswith("budget: 0.001 s ") for u in found.unread)
    assert all(getattr(found, surface) is None for surface in SURFACES)


class Large(Surface):
    """A collector that needs much memory."""

    def collect(self, root: Root, before: int | None, _unread: Callable[[str, str], None]) -> int:
        del root, before
        return len([bytearray(self.files) for _ in range((4 << 30) // self.files)])


@pytest.mark.parametrize("size", [1 << 20, 32], ids=["large pieces", "small pieces"])
def test_what_needs_too_much_memory_is_left_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Also where not a byte is left to say so: small pieces fill every hole."""
    modules = {"hostaudit_agent.collectors.large": Large(size), "hostaudit_agent.collectors.small": Surface(1)}
    monkeypatch.setattr(reader, "import_module", modules.__getitem__)
    status = (Root().read_text("proc/self/status") or "").splitlines()
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData:")) >> 10
    unread: list[Unread] = []
    budget.begin(ENOUGH._replace(memory=used + 50))
    lift = budget.confine(used + 50)
    try:
        found = reader.Reader(Root(), ("large", "small"), unread, census=False).collect()
    finally:
        lift()
    assert found == {"small": -1}
    assert [(u.surface, u.reason) for u in unread] == [("large", f"budget: {used + 50} MiB of memory are used up")]


def test_the_bound_of_memory_is_lifted_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    lift = budget.confine(300)
    assert resource.getrlimit(resource.RLIMIT_DATA) == (300 << 20, before[1])
    lift()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    budget.confine(0)()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.lab
def test_a_busy_namespace_is_answered_in_part(agent: Path, netns: Callable[[], Any]) -> None:
    """Hundreds of interfaces make the knobs dear: with a part of the time there is an answer all the same."""
    space = netns()
    space.ip(*(f"link add v{n} type veth peer name w{n}" for n in range(150)))
    inside = ("ip", "netns", "exec", space.name)
    whole = run(agent, "--interval=0", "--budget=wall=0,cpu=0", prefix=inside)
    assert not [u for u in whole.unread if u.reason.startswith("budget:")]
    order = reader.cheapest_first(SURFACES)
    for twentieth in range(6, 30):  # the same reading does not always take the same time
        part = run(
            agent, "--interval=0", "--budget", f"wall=0,cpu={whole.cpu_ms / 20_000 * twentieth:.3f}", prefix=inside
        )
        refused = {u.surface for u in part.unread if u.reason.startswith("budget:")} & set(order)  # no parts
        if 0 < len(refused) < len(order):
            break
    assert 0 < len(refused) < len(order)
    assert refused == set(order[len(order) - len(refused) :])
    assert part.resolver is not None


@pytest.mark.lab
def test_a_long_table_is_counted_in_part(netns: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Walks that can stop early take half of what is left, and say that they stopped."""
    clocks = Clocks(0.0)
    with netns().entered(), ExitStack() as stack:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=100)))
        for _ in range(400):
            stack.enter_context(closing(socket.create_connection(server.getsockname())))
            stack.enter_context(closing(server.accept()[0]))
        monkeypatch.setattr(sockets, "time", clocks)
        monkeypatch.setattr(sockets, "fair", lambda _most: 1.0)
        said: list[str] = []
        found = sockets.collect(Root(), None, lambda part, why: said.append(f"{part}: {why}"))
    assert found.truncated
    assert 0 < found.states["ESTABLISHED"] < 800
    assert said == [f"table: budget: 1 s are over, {found.states['ESTABLISHED']} sockets were counted"]
