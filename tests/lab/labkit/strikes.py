"""Injects a fault into a command, brings the hosts to an end by what the documentation says, and judges them."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from labkit import hosts
from labkit.faults import SECONDS
from labkit.onhosts import FAULTS, HostFault
from labkit.rig import CALM, Rig
from labkit.settings import LAB, LabError
from labkit.striking import Controller, Point, sleep_until
from labkit.wholeness import BEFORE, CHANGED, HALF, Judgement

ALONE = "controller killed alone"
MACHINE = "controller killed with all it started"
AGAIN = "controller killed, and those that resume too"
LEFT = "controller killed, nobody resumes"
ASLEEP = "controller asleep past the timeout"
KILLS = (ALONE, MACHINE)
SLOW = (LEFT, ASLEEP, *FAULTS)
"""Kinds that wait for the hosts' guards."""
ALONE_TIME = SECONDS + 75.0
"""Seconds in which guards have surely put back what nobody confirmed: systemd tries again each 15 s."""


@dataclass(frozen=True)
class Strike:
    """One fault."""

    kind: str
    command: str
    """``apply`` or ``rollback``."""
    point: Point
    others: tuple[Point, ...] = ()
    """Where the controllers that resume are killed, one after the other."""

    @property
    def started(self) -> str:
        """What the hosts are before."""
        return BEFORE if self.command == "apply" else CHANGED

    def __str__(self) -> str:
        return f"{self.kind} in {self.command} at {', then '.join(str(p) for p in (self.point, *self.others))}"


def inject(rig: Rig, strike: Strike) -> Judgement | None:
    """Do it and return what came out; None when the controller ended before its point."""
    rig.set(strike.started)
    since = rig.since
    rig.seconds = SECONDS if strike.kind in SLOW else CALM
    controller = rig.start(strike.command, strike.point)
    try:
        if not controller.until_stopped():
            controller.end()
            return None
        early, faults = _strike(rig, strike, controller)
    finally:
        controller.clear()
    code, said = rig.resume()
    logs = strike.kind not in ("disk full", "host read-only")  # there the host could not write its log
    found = rig.judge(strike.started, since, logs=logs)
    found.half += early
    found.faults = faults
    if code not in (0, 8):
        found.journal.append(f"resume ended with {code}: {said.strip()[-300:]}")
    return found


def _strike(rig: Rig, strike: Strike, controller: Controller) -> tuple[list[str], int]:
    """Let the fault happen; return what is wrong already before anybody resumes, and how many faults it were."""
    faults = 1
    if strike.kind in FAULTS:
        _host_fails(rig, FAULTS[strike.kind], strike, controller)
    elif strike.kind == ASLEEP:
        began = time.monotonic()
        controller.freeze()
        sleep_until(began + SECONDS + 5)
        controller.go_on()
        controller.end()
    else:
        controller.kill(everything=strike.kind != ALONE)
    for point in strike.others:
        another = rig.start("resume", point)
        if another.until_stopped():
            another.kill(everything=True)
            faults += 1
        else:  # everything had ended before
            another.end()
            break
    return (_left_alone(rig) if strike.kind == LEFT else []), faults


def _left_alone(rig: Rig) -> list[str]:
    """Wait until the guards have ended; then each host is whole although nobody came."""
    end = time.monotonic() + ALONE_TIME
    while rig.armed() and time.monotonic() < end:
        time.sleep(1)
    found = {name: rig.ends[name].judge(name, unasked=True) for name in rig.names}
    return [f"{name}: left alone: {why}" for name, (state, why) in found.items() if state == HALF]


def _host_fails(rig: Rig, fault: HostFault, strike: Strike, controller: Controller) -> None:
    """Let the host that is being changed fail, and mend it when its guard must have met the fault."""
    victim = _victim(rig, strike)
    booted = hosts.leader(victim)
    with multiplexed(victim) if "multiplexed" in strike.kind else nullcontext() as alive:
        hosts.script(victim, fault.begin)
        try:
            controller.go_on()
            end = time.monotonic() + (fault.seconds or SECONDS + 5)
            while fault.mend and time.monotonic() < end and controller.process.poll() is None:
                time.sleep(0.5)
            if alive:
                assert alive() == 0, "the connection that was open lives, although no new one is let in"
        finally:
            if fault.mend:
                hosts.script(victim, fault.mend)
    if not fault.mend:
        hosts.wait(lambda: _booted(victim) not in (0, booted), 180, f"{victim} does not reboot")
        hosts.ready(victim, 180)
    controller.end()
    end = time.monotonic() + ALONE_TIME
    while rig.armed() and time.monotonic() < end:
        time.sleep(1)


def _victim(rig: Rig, strike: Strike) -> str:
    """Return the host whose turn it is at this point: the canary until the second batch looks around."""
    passed = [name for _, name in rig.marks[strike.command]]
    second = next((n for n, name in enumerate(passed) if name.endswith("step look begin #2")), len(passed))
    return rig.names[0] if passed.index(strike.point.name) < second else rig.names[-1]


def _booted(name: str) -> int:
    """Return the process that is number 1 inside a host; 0 while there is none."""
    try:
        return hosts.leader(name)
    except LabError:
        return 0


@contextmanager
def multiplexed(name: str) -> Iterator[Callable[[], int]]:
    """Hold a user's multiplexed connection open, and give a function that runs a command over it."""
    ssh = ["ssh", "-F", str(LAB / "ssh_config"), "-S", str(LAB / f"mux-{name}")]
    subprocess.run([*ssh, "-M", "-N", "-f", name], check=True)
    try:
        yield lambda: subprocess.run([*ssh, name, "true"], check=False, timeout=60).returncode
    finally:
        subprocess.run([*ssh, "-O", "exit", name], check=False, capture_output=True)
