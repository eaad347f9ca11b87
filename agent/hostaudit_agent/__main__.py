"""The command: read this node and print one JSON document. It never writes, and does not read standard input.

Mode ``ring``, which only a timer starts, writes its ring (``hostaudit_agent.ring``).
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent import __version__, budget
from hostaudit_agent.budget import Budget
from hostaudit_agent.document import within
from hostaudit_agent.reader import Reader, reason
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import SURFACES, Snapshot, Unread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit_agent.namespaces import Others

USAGE = """usage: python3 hostaudit-agent.pyz [--interval S] [--all-netns] [--census] [--root DIR] [--budget BOUNDS]

Reads this node's packet filter, connection tracking, sysctls, links and counters, and prints one JSON document.
It changes nothing.

  --interval S   seconds between the two samples of the counters (2); 0: one sample, no differences;
                 from 60 on, TCP's retransmissions are read once a second meanwhile
  --all-netns    the same for every other network namespace of this host (needs root)
  --census       count the connection tracking table by protocol and state, also where it is not half full
  --root DIR     read the files of the system below DIR: a captured tree, or a host mounted into a container
  --budget BOUNDS
                 what the reading may cost: wall=24,cpu=10,memory=256,answer=8 (seconds without the interval,
                 seconds of CPU time, MiB, MiB); 0: no bound. What does not fit is left unread, the costly first
  --help         this text
"""
LONGEST = 3600.0
SERIES_FROM = 60.0
"""Seconds of interval from which on a series is taken: a shorter one shows no beat of half a minute."""
MODES = ("probe", "capture", "ring", "traces")
"""First words that ask for something else than a reading: packages of this one, each with a ``main``."""
CAP_NET_ADMIN = 12
"""include/uapi/linux/capability.h"""


class Options(NamedTuple):
    """What the command line asks for."""

    interval: float = 2.0
    all_netns: bool = False
    census: bool = False
    root: str = "/"
    budget: Budget = Budget()


class UsageError(Exception):
    """A command line that cannot be obeyed, in one sentence."""


def parse(arguments: Sequence[str]) -> Options:
    """Parse the command line. argparse would cost a tenth of the agent's whole time."""
    options = Options()
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name == "--all-netns" and not equals:
            options = options._replace(all_netns=True)
            continue
        if name == "--census" and not equals:
            options = options._replace(census=True)
            continue
        if name not in {"--interval", "--root", "--budget"}:
            raise UsageError(f"unknown option {name + equals + value}; --help lists what there is")
        if not equals:
            if not words:
                raise UsageError(f"{name} needs a value")
            value = words.pop(0)
        if name == "--interval":
            options = options._replace(interval=_seconds(value))
        elif name == "--root":
            options = options._replace(root=value)
        else:
            options = options._replace(budget=_budget(value))
    if not os.path.isdir(options.root):
        raise UsageError(f"--root {options.root}: no such directory")
    return options


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST:
        raise UsageError(f"--interval {text}: expected seconds, from 0 to {LONGEST:.0f}")
    return seconds


def _budget(text: str) -> Budget:
    bounds = Budget()
    for word in text.split(","):
        name, _, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in Budget._fields or not 0 <= number < float("inf"):
            raise UsageError(f"--budget {word}: expected {'=, '.join(Budget._fields)}= with a number, 0 for no bound")
        bounds = bounds._replace(**{name: number})
    return bounds


def take(options: Options) -> Snapshot:
    """Read the node; what cannot be read, or not within the budget, is in ``unread``."""
    capabilities = int(_status().get("CapEff", "0"), 16)
    snapshot = Snapshot(
        agent=__version__,
        taken=0.0,
        interval=0.0,
        privileged=bool(capabilities >> CAP_NET_ADMIN & 1),
        python=".".join(str(n) for n in sys.version_info[:3]),
    )
    lift = budget.confine(options.budget.memory)
    try:
        _read(options, snapshot, budget.begin(options.budget))
    finally:
        budget.end()
        lift()
    snapshot.cpu_ms = round(time.process_time() * 1000, 1)
    snapshot.peak_kib = int(_status().get("VmHWM", "0 kB").split()[0])
    return snapshot


def _read(options: Options, snapshot: Snapshot, keeper: budget.Keeper) -> None:
    root = Root(options.root)
    own = Reader(root, SURFACES, snapshot.unread, census=options.census)
    others = _others(root, snapshot, census=options.census) if options.all_netns else None
    if options.interval:
        keeper.share(budget.SAMPLING)
        own.sample()
        if others:
            others.sample()
        keeper.share(budget.WHOLE)
        keeper.paused(options.interval)
        began = time.monotonic()
        _wait(root, options.interval, snapshot)
        snapshot.interval = round(time.monotonic() - began, 3)
    for surface, value in own.collect().items():
        setattr(snapshot, surface, value)
    snapshot.taken = round(time.time(), 3)
    if others:
        snapshot.namespaces = others.collect()


def _others(root: Root, snapshot: Snapshot, *, census: bool) -> Others | None:
    from hostaudit_agent.namespaces import Others  # noqa: PLC0415 - most runs do not need it

    try:
        return Others(root, snapshot.unread, census=census)
    except budget.BudgetError as e:
        snapshot.unread.append(Unread("namespaces", reason(e)))
        return None


def _wait(root: Root, seconds: float, snapshot: Snapshot) -> None:
    """Let the time between the samples pass; a long one is read second by second."""
    if seconds < SERIES_FROM:
        time.sleep(seconds)
        return
    from hostaudit_agent.series import watch  # noqa: PLC0415 - most runs do not need it

    try:
        snapshot.series = watch(root, seconds)
    except Exception as e:  # noqa: BLE001 - the surfaces are read all the same
        snapshot.unread.append(Unread("series", reason(e)))


def _status() -> dict[str, str]:
    """Return /proc/self/status. Unlike getrusage, its VmHWM does not count what this process was before exec."""
    text = Root().read_text("proc/self/status") or ""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    if arguments and arguments[0] in MODES:
        return int(import_module("hostaudit_agent." + arguments[0]).main(arguments[1:]))
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(USAGE)
        return 0
    try:
        options = parse(arguments)
    except UsageError as e:
        sys.stderr.write(f"hostaudit-agent: {e}\n")
        return 2
    try:
        sys.stdout.write(within(take(options), options.budget.answer) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # nobody listens any more; the interpreter must not say so again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run() -> None:
    """Exit with what ``main`` returns."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
