"""Every fault at every point, see docs/faults.md: ``make soak``."""

import os
from pathlib import Path

import pytest
from labkit import hosts, soak


@pytest.mark.soak
def test_every_fault_at_every_point(tmp_path: Path) -> None:
    seed, seconds = os.environ.get("LAB_SEED", "1"), float(os.environ.get("LAB_SOAK", "600"))
    first, only = int(os.environ.get("LAB_FIRST", "1")), os.environ.get("LAB_LANE", "")
    print(f"\nLAB_SEED={seed} LAB_SOAK={seconds:.0f}")
    with hosts.up({name: spec for name, spec in soak.HOSTS.items() if only in ("", name)}) as names:
        lanes = soak.lanes(tmp_path, seed, names)
        tally = soak.Soak(seed, seconds, tmp_path / "tally.json", first=first).run(lanes)
    print(f"\n{tally.table()}\n\n{tally.missed} controllers ended before their point")
    assert tally.injected > 0
    assert tally.wrong == []
