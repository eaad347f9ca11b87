"""A window that closes in the middle of a change, on real hosts and by the real clock; the next one finishes it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from labkit.faults import Fleet, truth
from labkit.plans import Done, hostaudit

pytestmark = pytest.mark.long

NAMES = {"w11": "bullseye", "w12": "bookworm", "w13": "trixie"}
SECONDS = 20
"""Of a change, as ``write_plan`` estimates it."""
MARGINS = (8, 25, 60)
"""Seconds from the start of the program until a batch does not fit any more; a slow machine gets more of them."""


def until(end: datetime, path: Path) -> Path:
    """Write a policy whose freeze begins at that instant: windows of cron begin at full minutes only."""
    frozen = f"from = {end:%Y-%m-%dT%H:%M:%S}, to = 2199-01-01"
    path.write_text(f'[[windows]]\nfreeze = {{{frozen}}}\ntimezone = "UTC"\nname = "the day begins"\n')
    return path


def apply_until_it_closes(fleet: Fleet) -> Done:
    """Apply, host by host, with a window that is too short for the second batch and long enough for the first.

    The first batch takes two measurements of ``margin`` seconds, so it ends later than the second one may begin. Where
    the machine is too slow to begin within the margin, nothing is touched, and there is another try with a longer one.
    """
    for margin in MARGINS:
        confirm = margin + 60
        end = datetime.now(UTC) + timedelta(seconds=margin + SECONDS + margin + confirm)
        policy = until(end, fleet.directory / "policy.toml")
        words = ("apply", fleet.plan, "-i", fleet.source, "--serial", "1", "--no-watch", "--policy", policy)
        words = (*words, "--verify-seconds", str(margin), "--confirm-timeout", str(confirm), "--format", "json")
        done = hostaudit(fleet.journal, *words, limit=600)
        if fleet.change():
            return done
        assert done.code == 75, done.stderr
    raise AssertionError("this machine is too slow to begin within a minute")


def ended(fleet: Fleet, change: str) -> dict[str, Any]:
    told = hostaudit(fleet.journal, "log", "--kind", "change-end", "--change", change, "--format", "json").stdout
    return dict(json.loads(told)["payload"])


def test_the_first_host_is_changed_and_the_others_in_the_next_window(fleet: Fleet) -> None:
    done = apply_until_it_closes(fleet)
    assert done.code == 75, done.stderr
    assert done.states == {"w11": "confirmed", "w12": "not touched", "w13": "not touched"}
    assert [truth(name).whole for name in fleet.names] == ["confirmed", "as before", "as before"]

    said = ended(fleet, done.change)
    assert said["outcome"] == "window"
    assert 'freeze "the day begins"' in said["why"]
    assert [one["host"] for one in said["left"]] == ["w12", "w13"]
    assert said["hosts"]["w12"]["detail"] == "the window closed before its turn"
    table = hostaudit(fleet.journal, "log").stdout
    assert "w12, w13 not touched" in table

    shut = fleet.directory / "policy.toml"
    early = hostaudit(fleet.journal, "apply", "--resume", "-i", fleet.source, "--policy", shut, *QUICK)
    assert early.code == 75, "not before the next window"
    assert truth("w12").whole == "as before"

    resumed = fleet.resume()
    assert resumed.code == 0, resumed.stderr
    assert [truth(name).whole for name in fleet.names] == ["confirmed"] * 3
    assert [one["payload"].get("continues", "") for one in begun(fleet)] == ["", done.change]
    assert "nothing is unfinished" in fleet.resume().stderr
    assert hostaudit(fleet.journal, "log", "verify").stdout.startswith("sound: ")


QUICK = ("--verify-seconds", "1", "--confirm-timeout", "900")
"""The freeze has not begun yet when this is asked on a fast machine; a change that needs this long does not fit."""


def begun(fleet: Fleet) -> list[dict[str, Any]]:
    told = hostaudit(fleet.journal, "log", "--kind", "change-begin", "--format", "json").stdout
    return [json.loads(line) for line in told.splitlines()]
