"""Words and commands that several checks use. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Rule, Sysctl, TooBigDrop

quote = shlex.quote
"""Names of interfaces and chains come from the host: none of them may become part of a command."""


def window(view: View) -> str:
    """Return the time between the two samples for people: ``5 s``."""
    return f"{view.snapshot.interval:.0f} s" if view.snapshot.interval >= 1 else f"{view.snapshot.interval:.1f} s"


def plural(number: int, thing: str) -> str:
    """Return ``1 packet``, ``2 packets``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def shell(view: View, command: str) -> str:
    """Return the command as it has to be typed on the host to run in the view's network namespace."""
    if not view.netns:
        return command
    kind, _, rest = view.netns.partition(" ")
    name = quote(rest.partition(" ")[0] if kind == "pid" else rest)
    enter = f"nsenter -t {name} -n" if kind == "pid" else f"ip netns exec {name}"
    return f"{enter} sh -c {quote(command)}"


def iptables(rule: Rule | TooBigDrop) -> str:
    """Return the program that shows a rule of iptables: ``ip6tables-legacy``; no suffix where there is only one."""
    return ("ip6tables" if rule.family == "ip6" else "iptables") + rule.backend.removeprefix("iptables")


def twice(command: str, seconds: int = 5) -> str:
    """Return a command line that runs ``command`` now and after some seconds, to see what moves."""
    return f"{command}; sleep {seconds}; {command}"


def running(sysctl: Sysctl | None, key: str) -> str | None:
    """Return the running value of a knob; ``None`` where the kernel has none or it was not read."""
    knob = sysctl.knobs.get(key) if sysctl else None
    return knob.running if knob else None


def number(sysctl: Sysctl | None, key: str) -> int | None:
    """Return the running value of a knob that is one whole number, else ``None``."""
    text = running(sysctl, key)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def place(sysctl: Sysctl | None, key: str) -> str:
    """Return ``FILE:LINE`` of the line that sets the knob at boot; empty where no file does."""
    knob = sysctl.knobs.get(key) if sysctl else None
    return f"{knob.configured.file}:{knob.configured.line}" if knob and knob.configured else ""
