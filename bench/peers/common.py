"""What the peers share: ``PEER FLEET COUNT FORKS OUTPUT``, the hosts, and one line of JSON per host that answered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

FLEET, COUNT, FORKS, OUTPUT = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
COMMAND = f"/usr/bin/python3 -I -S {FLEET}/facts.py"
KEY, KNOWN, CONFIG = f"{FLEET}/id", f"{FLEET}/known_hosts", f"{FLEET}/ssh_config"


class Host(NamedTuple):
    """One host of the fleet."""

    name: str
    address: str
    port: int


def hosts() -> list[Host]:
    """Return the hosts to read."""
    lines = (FLEET / "hosts").read_text().splitlines()[:COUNT]
    return [Host(name, address, int(port)) for name, address, port in (line.split() for line in lines)]


def write(answers: Iterable[str | None]) -> None:
    """Write what the hosts said; ``None`` is a host that was lost."""
    OUTPUT.write_text("".join(answer.strip() + "\n" for answer in answers if answer))
