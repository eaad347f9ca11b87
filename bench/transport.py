"""One small fact set from N hosts, by hostaudit and by peers, in turn: ``transport.py COUNT [ROUNDS]``.

Peers are installed by pip into virtual environments of their own, below BENCH_VENVS (default: a temporary folder).
Controller CPU is user and system time of the whole process tree; the hosts' sshd is no part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

HERE = Path(__file__).parent
FORKS = 50


@dataclass(frozen=True)
class Peer:
    """One way to read a fleet."""

    name: str
    script: str
    packages: tuple[str, ...] = ()
    """To install; none: hostaudit's own environment."""
    arguments: tuple[str, ...] = ()
    slow: bool = False
    """Costs so much that large fleets are left out unless BENCH_ALL is set."""


PEERS = (
    Peer("hostaudit, small fact set", "own_facts.py"),
    Peer("hostaudit, its whole agent", "own_facts.py", arguments=("whole",)),
    Peer("parallel-ssh (libssh2), no host keys", "pssh_facts.py", ("parallel-ssh",)),
    Peer("asyncssh, tuned", "asyncssh_facts.py", ("asyncssh",)),
    Peer("pyinfra", "pyinfra_facts.py", ("pyinfra",)),
    Peer("fabric as usual", "fabric_usual.py", ("fabric",), slow=True),
    Peer("OpenSSH, warm masters", "openssh_facts.py", (), ("warm",), slow=True),
    Peer("Ansible, script", "ansible_script.py", ("ansible-core",), slow=True),
    Peer("Ansible, five tasks", "ansible_facts.py", ("ansible-core",), slow=True),
)


@contextmanager
def environments() -> Iterator[Path]:
    """Return where the peers are installed."""
    kept = os.environ.get("BENCH_VENVS")
    folder = Path(kept or tempfile.mkdtemp(prefix="hostaudit-peers-"))
    try:
        yield folder
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def python(peer: Peer, folder: Path) -> str:
    """Return the interpreter that has the peer; it is made when it is not there."""
    if not peer.packages:
        return sys.executable
    home = folder / peer.packages[0]
    if not (home / "done").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([str(home / "bin/pip"), "-q", "install", *peer.packages], check=True)
        (home / "done").touch()
    return str(home / "bin/python")


def versions(peers: list[Peer], folder: Path) -> dict[str, str]:
    """Return what was measured."""
    found = {}
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    for peer in peers:
        for package in peer.packages or ("hostaudit", "paramiko", "fabric", "cryptography"):
            command = [python(peer, folder), "-c", code, package]
            found[package] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    found["OpenSSH"] = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True).stderr.split(",")[0]
    found["Python"] = sys.version.split()[0]
    return found


def once(peer: Peer, interpreter: str, one: fleet.Fleet, count: int) -> dict[str, float]:
    """Run a peer; return its CPU, memory and wall, sshd's CPU, and how many hosts answered."""
    output = one.folder / "answers"
    output.unlink(missing_ok=True)
    script = str(HERE / "peers" / peer.script)
    command = [interpreter, script, str(one.folder), str(count), str(FORKS), str(output)]
    masters = one.folder / "masters"
    if peer.arguments == ("warm",):
        masters.mkdir(exist_ok=True)
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    else:
        command += peer.arguments
    spent = one.cpu()
    tree = [sys.executable, str(HERE / "measure_tree.py"), os.environ.get("BENCH_LIMIT", "900"), *command]
    done = subprocess.run(tree, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment())
    cost: dict[str, float] = json.loads(done.stdout)
    if peer.arguments == ("warm",):
        for master in masters.iterdir():
            command = ["ssh", "-F", f"{one.folder}/ssh_config", "-o", f"ControlPath={master}", "-O", "exit", "x"]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(masters)
    answers = 0
    with suppress(OSError, ValueError):
        answers = len({json.loads(line)["address"] for line in output.read_text().splitlines()})
    return {**cost, "sshd": one.cpu() - spent, "answers": answers}


def measure(
    count: int,
    rounds: int,
    chosen: list[Peer],
    folder: Path,
    up: Callable[[int], AbstractContextManager[fleet.Fleet]] = fleet.up,
) -> list[dict[str, object]]:
    """Return one row per peer: the median over the rounds, and their spread. ``up`` starts the fleet."""
    runs: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in chosen}
    interpreters = {peer.name: python(peer, folder) for peer in chosen}
    with up(count) as one:
        shutil.copy(HERE / "peers/facts.py", one.folder / "facts.py")
        one.inventory(count)
        for turn in range(rounds):
            for peer in chosen if turn % 2 == 0 else chosen[::-1]:
                if peer.slow and turn:
                    continue
                runs[peer.name].append(once(peer, interpreters[peer.name], one, count))
                print(f"  {count} {peer.name}: {runs[peer.name][-1]}", file=sys.stderr, flush=True)
    return [_row(name, count, found) for name, found in runs.items()]


def _row(name: str, count: int, found: list[dict[str, float]]) -> dict[str, object]:
    cpu = [run["cpu"] / count * 1e3 for run in found]
    return {
        "peer": name,
        "cpu_ms": statistics.median(cpu),
        "least": min(cpu),
        "most": max(cpu),
        "rounds": len(found),
        "wall": statistics.median(run["wall"] for run in found),
        "sshd_ms": statistics.median(run["sshd"] for run in found) / count * 1e3,
        "peak_mib": max(run["peak_mib"] for run in found),
        "lost": max(count - run["answers"] for run in found),
    }


def _environment() -> dict[str, str]:
    """Return the environment without what would switch off Python's caches: users have them."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HOSTAUDIT_"))}


def affordable(count: int) -> list[Peer]:
    """Return the peers that a fleet of this size is not too large for."""
    return [peer for peer in PEERS if not peer.slow or count <= 100 or "BENCH_ALL" in os.environ]


def main(arguments: list[str]) -> int:
    count, rounds = int(arguments[0]), int(arguments[1]) if arguments[1:] else 3
    with environments() as folder:
        chosen = affordable(count)
        rows = measure(count, rounds, chosen, folder)
        print(json.dumps({"hosts": count, "rows": rows, "versions": versions(chosen, folder)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
