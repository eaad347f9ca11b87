"""No process is killed for memory, restarted, and killed again.

What it reads
    The kernel's log of the last hour: which control group's processes the kernel killed for want of memory, and when.

Why it matters
    A service that is killed every few minutes drops its connections each time, and looks like a flaky network. On a
    hypervisor it is a whole guest; in a cluster a pod that still counts as running, or the speaker that announces an
    address.

Active when
    Processes of one control group were killed ``kills_per_hour`` times or more in the last hour, and the last time is
    not longer ago than twice the usual pause between two kills (a minute at least). Later it is a risk, until the
    hour is over. A single kill is no loop.

How it is remedied
    By its owner: a higher limit for what needs it, or the leak found. For the whole machine: less on it, or more
    memory.

Fix safety
    Nothing is changed. A higher limit for a leak makes the kills rarer and their neighbours poorer.

References
    https://docs.kernel.org/admin-guide/cgroup-v2.html
    https://kubernetes.io/docs/tasks/configure-pod-container/assign-memory-resource/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hostaudit.checks import _guests, _kernellog, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_GUEST = re.compile(r"/(?:qemu\.slice/|lxc(?:\.payload)?[./])(\d+)")
_VICTIM = re.compile(r"Killed process \d+ \(([^)]*)\)")


@check(reads=("kmsg",), severity=Severity.HIGH, thresholds={"kills_per_hour": 3})
def evaluate(view: View) -> Finding:
    """Find the control group that was killed most often."""
    log = view.snapshot.kmsg
    assert log is not None  # noqa: S101 - reads
    if view.netns or not log.own:
        return not_applicable("the kernel's log is the machine's, not this namespace's or container's")
    killed = _kernellog.of(log, "oom-kill")
    groups = {event.subject: event.count for event in killed}
    looked = f"{log.seconds / 60:.0f} min of the kernel's log"
    loops = [event for event in killed if event.count >= view.threshold("kills_per_hour")]
    if not loops:
        return passed(f"no control group was killed again and again in {looked}", kills=groups)
    worst = max(loops, key=lambda event: (event.last, event.count))
    pause = (worst.last - worst.first) / max(1, worst.count - 1)
    ago = max(0.0, view.snapshot.taken - worst.last)
    active = ago <= max(60.0, 2 * pause)
    victim = _VICTIM.search(worst.example)
    program = victim[1] if victim else "a process"
    where = _where(view, worst.subject)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"{program[:15]} was killed for memory {worst.count} times ({where})"[:78],
        severity=None if active else Severity.MEDIUM,
        evidence={
            "kills": groups,
            "control_group": worst.subject,
            "owner": where,
            "every_seconds": round(pause, 1),
            "last_seconds_ago": round(ago, 1),
            "looked_back_seconds": log.seconds,
            "example": worst.example,
        },
        reproduce="journalctl -k --since -1h | grep -E 'oom-kill:|Killed process'",
        disproof=f"No kill in {_say.plural(max(1, round(2 * pause / 60)), 'minute')}, and the program still runs.",
        advice=(
            f"Compare what it needs with its limit (`systemd-cgtop -m`; memory.max of {worst.subject}): raise the "
            "limit where its owner sets it (pod, unit, guest), or find the leak."
        ),
        cause=f"{re.sub(r'[0-9]+', '#', program)} is killed for memory again and again",
    )


def _where(view: View, group: str) -> str:
    """Return whose control group it is: a pod, a guest of Proxmox VE, or the end of its path."""
    pod, guest = _POD.search(group), _GUEST.search(group)
    if pod:
        return f"pod {pod[1].replace('_', '-')[:8]}"
    proxmox = _guests.node(view)
    if guest:
        known = next((g for g in proxmox.guests if str(g.vmid) == guest[1]), None) if proxmox else None
        return _guests.label(known) if known else f"guest {guest[1]}"
    return group.rstrip("/").rpartition("/")[2] or group
