"""What the history costs: BENCH_N hosts (100) x BENCH_DAYS daily runs (30); size, storing, drift, diff, memory.

The whole aim is ``BENCH_N=1000 BENCH_DAYS=365 python bench/history.py``, three minutes of CPU; BENCH_DIR keeps the
store in that directory, for another look; BENCH_MOVING is the number of counters of a host that move (200; ``all``). A
host is the recorded w1 of docs/outage.answers.json with eight processors, an address and counters of its own, most of
which move every day; in each run one host in a hundred has a sysctl changed. The verdicts of all checks are stored for
each host; two of them fail on one host in ten, with their evidence.

Most runs are made cheaply: what did not change is split and hashed once, only moving values and changed hosts are made
anew, and the transaction is the product's own. The last one goes the whole way, as a command would, and is what "a run
stored" tells; so do drift and diff, each in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.archive import load, save
from hostaudit.audit import Request, judged, stamp
from hostaudit.checks import all_checks
from hostaudit.commands import drifting
from hostaudit.commands.auditing import Audited
from hostaudit.drift.baseline import Baseline
from hostaudit.drift.settings import Settings
from hostaudit.history import History, store
from hostaudit.history.pack import WORDS, deflate, values_of
from hostaudit.model import Collected, Finding, Grade, Host, HostReport, Run, Severity, Status
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOSTS, DAYS = int(os.environ.get("BENCH_N", "100")), int(os.environ.get("BENCH_DAYS", "30"))
START = datetime(2026, 1, 1, 6, tzinfo=UTC)
RECORDED = Path(__file__).resolve().parent.parent / "docs/outage.answers.json"
KEYS = ("net.core.somaxconn", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_retries2", "net.ipv4.tcp_keepalive_time")
CPUS = 8
MOVING = os.environ.get("BENCH_MOVING", "200")
"""Counters that are not 0. Of the 436 that are read, 115 were on the machine on which this was written."""


def main() -> int:
    """Make the history, measure what reads it, and print both."""
    with tempfile.TemporaryDirectory(prefix="hostaudit-bench-") as scratch:
        folder = Path(os.environ.get("BENCH_DIR", scratch))
        made = {} if (folder / "journal.db").exists() else _apart("year", folder)
        size = (folder / "journal.db").stat().st_size
        found = {part: _apart(part, folder) for part in ("store", "drift", "diff", "audit")}
    print(f"\nHistory: {HOSTS} hosts, {DAYS} daily runs\n")
    print(f"  size                          {size / 1e6:>9.1f} MB, {size / HOSTS / DAYS:.0f} bytes a host and run")
    for part, one in found.items():
        held = f"{one['peak']:>6.0f} MiB" + (f", with the answers read {one['fleet']:.0f}" if "fleet" in one else "")
        print(f"  {part:<6} {one['said']:<22} {one['cpu']:>9.2f} s CPU {held}")
    if made:
        print(f"  making it: {made['generator']:.0f} s CPU, its transactions {made['write']:.2f} s each")
    return 0


# --- the year ---------------------------------------------------------------------------------------------------------


def _year(folder: Path) -> dict[str, float]:
    """Store all runs but the last; leave what the hosts answer then in ``answers.json``."""
    chance = random.Random(7)  # noqa: S311 - the same fleet every time
    fleet = _fleet(chance)
    began, spent = time.process_time(), 0.0
    reports, verdicts = _reports(), _verdicts()
    with History.open(_url(folder)) as history:
        database = history._database  # noqa: SLF001 - for its transaction
        fresh: dict[bytes, bytes] = {}
        prepared = [store.prepare(one, set(), fresh) for one in fleet]
        names = [one.host.name for one in fleet]
        pool = [[chance.randrange(1, 5_000_000) for _ in range(200)] for _ in range(50)]
        for day in range(DAYS - 1):
            for number in chance.sample(range(HOSTS), max(1, HOSTS // 100)):
                knob = fleet[number].snapshot.sysctl.knobs[chance.choice(KEYS)]  # type: ignore[union-attr]
                knob.running = str(chance.randrange(10_000))
                prepared[number] = store.prepare(fleet[number], set(), fresh)
            prepared = [replace(one, moving=_later(one.moving, chance.choice(pool))) for one in prepared]
            with _timed() as timed, database.writing() as connection:
                at = store.write(connection, _run(day, reports, verdicts), "drift", prepared, fresh)
            spent += timed["cpu"]
            fresh = {}
            if day < DAYS - 2:
                history.tell(at, names, names, [])
            if day % 20 == 0:
                sys.stderr.write(f"bench: {day + 1} of {DAYS} runs, {time.process_time() - began:.0f} s CPU\n")
    for number in chance.sample(range(HOSTS), max(1, HOSTS // 100)):
        knob = fleet[number].snapshot.sysctl.knobs[KEYS[0]]  # type: ignore[union-attr]
        knob.running = str(chance.randrange(10_000))
    save(folder / "answers.json", fleet, START + timedelta(days=DAYS - 1))
    return {"generator": time.process_time() - began - spent, "write": spent / max(1, DAYS - 1)}


def _fleet(chance: random.Random) -> list[Collected]:
    recorded = next(a.snapshot for a in load(RECORDED)[0] if isinstance(a, Collected) and a.host.name == "w1")
    data = msgspec.json.encode(recorded)
    fleet = []
    for number in range(HOSTS):
        one = msgspec.json.decode(data, type=Snapshot)
        assert one.platform is not None
        assert one.link is not None
        assert one.conntrack is not None
        assert one.counters is not None
        one.platform.hostname = f"node{number:04}"
        one.link.links[1].addresses = [f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}/8"]
        names = [key for key in one.conntrack.stats if key != "count"]
        one.conntrack.census = None
        one.conntrack.per_cpu = [{"cpu": n, **{key: chance.randrange(900) for key in names[:4]}} for n in range(CPUS)]
        every = list(one.counters.totals)
        moving = every if MOVING == "all" else chance.sample(every, int(MOVING))
        one.counters.totals |= {key: chance.randrange(50_000_000) for key in moving}
        one.counters.delta = {key: chance.randrange(1, 900) for key in moving[:60]}
        fleet.append(Collected(Host(one.platform.hostname, ("web",)), one, 1.0))
    return fleet


def _later(moving: bytes, steps: Sequence[int]) -> bytes:
    """Let a day pass over a host's moving values: two of three numbers that are not 0 grow."""
    values = {surface: _grown(all_, steps) for surface, all_ in values_of(moving).items()}
    return deflate(msgspec.json.encode(values), WORDS)


def _grown(value: Any, steps: Sequence[int]) -> Any:
    if isinstance(value, dict):
        return {key: inner + steps[n] % 1000 if inner and n else inner for n, (key, inner) in enumerate(value.items())}
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], list | dict):
        return [_grown(one, steps) for one in value]
    grown = list(value)
    for place, one in enumerate(grown):
        if place % 3 and one and isinstance(one, int | float):
            grown[place] += steps[place % len(steps)]
    return grown


def _reports() -> tuple[HostReport, ...]:
    return tuple(
        HostReport(f"node{n:04}", "ok", kernel="6.12.0", platform="Debian", collect_seconds=1.5) for n in range(HOSTS)
    )


def _verdicts() -> tuple[Finding, ...]:
    checks = list(all_checks())
    evidence = {"drifted": {key: {"running": "1", "configured": "2", "at": "/etc/sysctl.d/9.conf:3"} for key in KEYS}}
    found = []
    for number in range(HOSTS):
        for place, check in enumerate(checks):
            if number % 10 == 0 and place < 2:
                one = Finding(
                    Status.FAIL, f"{number} of 4096", Grade.RISK, Severity.LOW, check=check, evidence=evidence
                )
                found.append(replace(one, host=f"node{number:04}", advice="Set it again, or accept it.", cause=check))
            else:
                found.append(Finding(Status.PASS, "", check=check, host=f"node{number:04}"))
    return tuple(found)


def _run(day: int, reports: tuple[HostReport, ...], verdicts: tuple[Finding, ...]) -> Run:
    moment = START + timedelta(days=day)
    return Run(f"{moment:%Y%m%dT%H%M%SZ}-bench", stamp(moment), stamp(moment), "0", reports, verdicts, {"pass": 1})


# --- what reads it, each in a process of its own ----------------------------------------------------------------------


def _apart(part: str, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own; a command is measured from outside."""
    if part == "diff":
        first = f"{START:%Y%m%dT%H%M%SZ}-bench"
        command = [str(Path(sys.executable).parent / "hostaudit"), "diff", first, "last", "-n", "1"]
        process = subprocess.Popen([*command, "--journal", _url(folder)], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 16, process.returncode  # they differ
        return {"said": "first, last run", "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}
    command = [sys.executable, __file__, part, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _part(part: str, folder: Path) -> int:
    if part == "year":
        print(json.dumps(_year(folder)))
        return 0
    answers, started = load(folder / "answers.json")
    fleet = _peak()
    with History.open(_url(folder)) as history, _timed() as timed:
        if part == "audit":
            run = judged(answers, Request(), started)
            said = f"{len(run.findings)} findings"
        elif part == "store":
            history.store(_run(DAYS - 1, _reports(), _verdicts()), _good(answers), "run")
            said = f"run {DAYS}"
        else:
            run = _run(DAYS - 1, _reports(), ())
            stored = history.read.runs(newest=1)[0]
            asked = drifting.Asked(Policy(), Settings(), Baseline())
            found = drifting.found(Audited(run, answers), history, stored, {}, asked)
            said = f"{len(found.lines)} lines"
    print(json.dumps({"said": said, "cpu": timed["cpu"], "peak": _peak(), "fleet": fleet}))
    return 0


def _good(answers: Sequence[object]) -> list[Collected]:
    return [one for one in answers if isinstance(one, Collected)]


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    found = {"cpu": 0.0}
    began = time.process_time()
    yield found
    found["cpu"] = time.process_time() - began


def _peak() -> float:
    """Return the largest resident set of this program in MiB; getrusage would count what started it, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/journal.db"


if __name__ == "__main__":
    sys.exit(_part(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else main())
