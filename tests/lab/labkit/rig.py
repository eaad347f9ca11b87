"""Hosts with a journal and a plan that can be set back at once: to before a change, or to one that is in force.

What a fault found is judged against these two states, which a change and an undo without any fault left behind.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit import hosts, wholeness
from labkit.faults import Fleet
from labkit.striking import Controller, Point, passed
from labkit.wholeness import BEFORE, CHANGED, Ends, Judgement

ROLE = "tcp_backlog"
WANTED = {"tcp_backlog_somaxconn": 5000, "tcp_backlog_max_syn_backlog": 3000, "tcp_backlog_syncookies": 2}
"""Three values and a file: enough to be half changed."""
PATHS = ("net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_syncookies")
WAYS = ("--verify-seconds", "1", "--serial", "1,100%")
CALM = 240
"""Seconds for the confirmation where nothing waits for it, so that a busy machine comes in time."""
TREES = "var/lib/hostaudit var/log/hostaudit etc/sysctl.d/zz-hostaudit.conf etc/ansible"
CLEAN = f"""
systemctl stop 'hostaudit-guard*' 2>/dev/null || :
find /etc/systemd/system -name '*hostaudit-guard*' -delete
systemctl daemon-reload
systemctl reset-failed 'hostaudit-guard*' 2>/dev/null || :
cd / && rm -rf {TREES} /root/.ansible/tmp /run/hostaudit-guard*
"""
ATTEMPTS = 4
"""To resume: a host that is busy with its own undo is asked again."""


@dataclass
class Rig:
    """A fleet between two known states."""

    names: Sequence[str]
    directory: Path
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    ends: dict[str, Ends] = field(default_factory=dict)
    marks: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """apply, rollback -> what a run without a fault passes."""
    values: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """State -> host -> kernel values."""

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.names, self.directory, self.variables)
        self.journal = self.fleet.journal
        self.change = ""
        self.seconds = CALM
        """For the confirmation."""
        self.since = 0
        """The last entry of the journal when it was set back."""

    def prepare(self) -> None:
        """Change and put back once without a fault; keep both states, and what the controllers passed."""
        code, said = self.resume()  # makes an empty journal
        assert code == 0, said
        shutil.copy(self.journal, self._kept(BEFORE))
        self.fleet.planned(ROLE, **WANTED)
        before = {name: wholeness.state(name) for name in self.names}
        self._keep(BEFORE)
        self.marks["apply"] = passed(self.start("apply"))
        self.change = self.fleet.change()
        changed = {name: wholeness.state(name) for name in self.names}
        self._keep(CHANGED)
        shutil.copy(self.journal, self._kept(CHANGED))
        self.ends = {name: Ends(before[name], changed[name]) for name in self.names}
        self.marks["rollback"] = passed(self.start("rollback"))
        for name in self.names:
            assert self.ends[name].judge(name) == (BEFORE, ""), "an undo without a fault is one to the byte"

    def _kept(self, state: str) -> Path:
        return self.directory / f"{state}.db"

    def _keep(self, state: str) -> None:
        reading = "".join(f"cat /proc/sys/{path}\n" for path in PATHS)
        self.values[state] = {name: hosts.script(name, reading).splitlines() for name in self.names}
        for name in self.names:
            hosts.script(name, f"cd / && tar -cf '/root/{state}.tar' --ignore-failed-read {TREES} 2>/dev/null || :")

    def set(self, state: str) -> None:
        """Bring hosts and journal into one of the two states, past hostaudit."""
        for name in self.names:
            values = zip(self.values[state][name], PATHS, strict=True)
            writing = "".join(f"echo {value} >/proc/sys/{path}\n" for value, path in values)
            hosts.script(name, f"{CLEAN}\ntar -xpf '/root/{state}.tar'\n{writing}")
            found = self.ends[name].judge(name)
            assert found == (state, ""), f"{name} cannot be set back: {found}"
        for file in self.directory.glob(f"{self.journal.name}*"):
            file.unlink()
        shutil.copy(self._kept(state), self.journal)
        self.since = wholeness.last(self.journal)

    def start(self, command: str, point: Point | None = None) -> Controller:
        """Start an apply of the plan, the rollback of its change, or a resume."""
        words: Mapping[str, tuple[object, ...]] = {
            "apply": ("apply", self.fleet.plan, "--no-watch"),
            "rollback": ("rollback", self.change),
            "resume": ("apply", "--resume"),
        }
        ways = (*WAYS, "--confirm-timeout", self.seconds, "-i", self.fleet.source, "--format", "json")
        return Controller(self.journal, (*words[command], *ways), point or Point(""))

    def resume(self) -> tuple[int, str]:
        """Do what the documentation says after a controller died, until no host is unknown any more.

        Return the last exit code, and what was said.
        """
        for _ in range(ATTEMPTS):
            controller = self.start("resume")
            code = controller.end()
            if code != 4:
                break
        return code, controller.stderr()

    def judge(self, started: str, since: int, *, logs: bool = True) -> Judgement:
        """Judge hosts, journal and the hosts' own logs."""
        return wholeness.judge(self.journal, self.names, self.ends, started, since, logs=logs)

    def armed(self) -> list[str]:
        """Return the hosts whose guard waits, or is at work."""
        return [name for name in self.names if hosts.script(name, wholeness.ARMED).strip()]
