"""The same small fact set from hosts with a kernel state and an sshd of their own: ``namespaces.py [HOSTS] [ROUNDS]``.

Hosts of the lab, at most 200: each has its network namespace, files, processes and sshd, as ``bench/fleet.py`` has not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fleet
import transport
from measure import others

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LAB = HERE.parent / "tests/lab"
sys.path.insert(0, str(LAB))


@dataclass(frozen=True)
class Namespaces(fleet.Fleet):
    """Hosts of the lab with the files that peers take."""

    leaders: tuple[int, ...] = ()
    """Process 1 of each host, which is its sshd."""

    def inventory(self, count: int | None = None) -> Path:
        """Write Ansible's inventory of the first hosts."""
        listed = [line.split() for line in (self.folder / "hosts").read_text().splitlines()[:count]]
        lines = "".join(f"{name} ansible_host={address}\n" for name, address, _ in listed)
        path = self.folder / f"inventory-{len(listed)}.ini"
        path.write_text(f"[fleet]\n{lines}\n{fleet.group_variables(self.folder, self.port)}")
        return path

    def cpu(self) -> float:
        """Return the CPU seconds of all sshds, and of their sessions that have ended."""
        return sum(fleet.Fleet(self.folder, 22, 1, pid).cpu() for pid in self.leaders)


@contextmanager
def up(count: int) -> Iterator[Namespaces]:
    """Start the hosts, in a world of the lab, and end them."""
    from labkit import hosts, inventory  # noqa: PLC0415 - they are on the path from here on
    from labkit.settings import LAB as RUNNING  # noqa: PLC0415 - as above

    names = [f"h{number:04}" for number in range(count)]
    folder = Path(tempfile.mkdtemp(prefix="hostaudit-bench-"))
    facts = (HERE / "peers/facts.py").read_text()
    try:
        with hosts.up({name: hosts.Spec("ns:bookworm") for name in names}):
            addresses = {name: inventory.load()[name]["address"] for name in names}
            for name in names:
                hosts.run(name, "sh", "-c", f"mkdir -p {folder}; cat >{folder}/facts.py", input=facts)
            _files(folder, addresses, RUNNING / "key", inventory.host_key())
            yield Namespaces(folder, 22, count, 0, tuple(hosts.leader(name) for name in names))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path, addresses: dict[str, str], key: Path, host_key: str) -> None:
    shutil.copy(key, folder / "id")
    known = "".join(f"{address} {host_key}\n" for address in addresses.values())
    (folder / "hosts").write_text("".join(f"{name} {address} 22\n" for name, address in addresses.items()))
    (folder / "plain_hosts").write_text(known)
    (folder / "known_hosts").write_text(known)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", folder / "known_hosts"], check=True, capture_output=True)
    (folder / "known_hosts.old").unlink()
    (folder / "ssh_config").write_text(fleet.client_config(folder, 22))


def measure(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure in a world of its own, with the peers that are installed in ``folder``; a world has no way out."""
    chosen = transport.affordable(count)
    versions = transport.versions(chosen, folder)
    busy = others()
    command = [sys.executable, str(LAB / "lab.py"), "run", "--", sys.executable, __file__, "--inside"]
    environment = {**os.environ, "BENCH_VENVS": str(folder)}
    done = subprocess.run(
        [*command, str(count), str(rounds)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    return {"rows": rows, "versions": versions, "others": busy}


def main(arguments: list[str]) -> int:
    inner = arguments[:1] == ["--inside"]
    given = arguments[inner:]
    count = int(given[0] if given else os.environ.get("BENCH_N", "100"))
    rounds = int(given[1]) if given[1:] else 2
    with transport.environments() as folder:
        if inner:
            print(json.dumps(transport.measure(count, rounds, transport.affordable(count), folder, up)))
        else:
            print(json.dumps(measure(count, rounds, folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
