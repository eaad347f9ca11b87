"""Run the Molecule scenarios on the lab's hosts and say how long each took: ``make molecule``.

    tools/molecule.py                     every role, on Debian 11, 12 and 13
    tools/molecule.py link_mtu rp_filter  some of them
    MOLECULE_HOSTS=podman tools/molecule.py    the same in containers; see docs/molecule.md

Two worlds of the lab run side by side, each with its own hosts. Nothing stays behind: what Ansible and Molecule write
goes to a temporary directory, whatever ANSIBLE_HOME says.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAB = [sys.executable, str(ROOT / "tests/lab/lab.py")]
SUITES = ("bullseye", "bookworm", "trixie")
ELSEWHERE = "MOLECULE_HOSTS=vm"
"""A scenario whose molecule.yml says this needs kernels of its own: ``make molecule-vm``."""


def scenarios() -> dict[str, bool]:
    """Return name -> whether it runs on virtual machines."""
    found = {p.parent.name: ELSEWHERE in p.read_text() for p in sorted(ROOT.glob("molecule/*/molecule.yml"))}
    found.pop("default")  # starts the hosts
    return found


def environment(work: Path, worker: int) -> dict[str, str]:
    """Return the environment of one worker: nothing of the user's own Ansible is read or written."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_") and k != "VIRTUAL_ENV"}
    return mine | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MOLECULE_COMMAND_BORDERS": "false",  # they break lines in two
        "ANSIBLE_HOME": str(work / f"a{worker}"),  # short: sockets are below it
        "MOLECULE_EPHEMERAL_DIRECTORY": str(work / f"m{worker}"),
        "MOLECULE_TOLD_DIRECTORY": str(work / "told"),
        "MOLECULE_HOSTS": os.environ.get("MOLECULE_HOSTS", "boot"),
    }


def start(work: Path, worker: int, names: list[str]) -> subprocess.Popen[bytes]:
    """Start Molecule for some scenarios, in a world of its own where the hosts are the lab's."""
    command = ["molecule", "--base-config", ".config/molecule/config.yml", "test"]
    command += [word for name in names for word in ("-s", name)]
    given = environment(work, worker)
    if given["MOLECULE_HOSTS"] != "podman":
        command = [*LAB, "run", "--", *command]
    with (work / f"{worker}.log").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def told(work: Path, name: str) -> list[dict[str, Any]]:
    """Return what the runs of a scenario wrote down, see molecule/shared/callback/told.py."""
    path = work / "told" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def judged(runs: list[dict[str, Any]]) -> bool:
    """Tell whether the sequence came to its end; a scenario that was left out is not one that passed."""
    return bool(runs) and runs[-1]["step"] == "judge" and not runs[-1]["failed"]


def table(work: Path, names: list[str]) -> str:
    """Return scenario x host x seconds that its tasks took, and the wall clock of all runs of the scenario."""
    rows = {name: told(work, name) for name in names}
    hosts = sorted({h for runs in rows.values() for run in runs for h in run["hosts"]})
    lines = [f"{'scenario':20}" + "".join(f"{h:>9}" for h in hosts) + f"{'wall':>9}   seconds"]
    for name, runs in rows.items():
        cells = [sum(run["hosts"].get(h, 0) for run in runs) for h in hosts]
        verdict = "ok" if judged(runs) else "FAILED" if runs else "did not run"
        lines.append(
            f"{name:20}" + "".join(f"{c:9.1f}" for c in cells) + f"{sum(r['seconds'] for r in runs):9.1f}   {verdict}"
        )
    return "\n".join(lines)


def run(work: Path, shares: list[list[str]], keep: Path | None) -> bool:
    """Run each share of the scenarios in a world of its own; print what failed and the table; tell whether any did."""
    names = [name for share in shares for name in share]
    began = time.monotonic()
    said: set[str] = set()
    running: list[subprocess.Popen[bytes]] = []
    try:
        running += [start(work, i, share) for i, share in enumerate(shares)]
        ended = False
        while not ended:
            ended = all(child.poll() is not None for child in running)  # before the look at what they wrote
            for name in sorted(n for n in set(names) - said if judged(told(work, n))):
                said.add(name)
                print(f"molecule: {name} passed, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            time.sleep(0 if ended else 0.5)
    finally:
        for child in running:
            child.terminate()  # takes its world along
            child.wait()
    failed = [i for i, child in enumerate(running) if child.returncode]
    for i in failed:
        print("\n".join((work / f"{i}.log").read_text(errors="replace").splitlines()[-200:]))
    print(table(work, sorted(names)))
    if keep:
        shutil.copytree(work, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("a[0-9]", "m[0-9]"))
    return bool(failed) or set(names) != said


def main() -> int:
    """Return 0 when every scenario came to its end, 1 otherwise, 2 for what cannot be run here."""
    known = scenarios()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenario", nargs="*", help=f"{', '.join(known)}; default: all that need no virtual machine")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worlds side by side (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy the logs and what every run said to there")
    options = parser.parse_args()
    if wrong := sorted(set(options.scenario) - set(known)):
        parser.error(f"no such scenario: {', '.join(wrong)}; there are {', '.join(known)}")
    names = options.scenario or [name for name, elsewhere in known.items() if not elsewhere]
    podman = os.environ.get("MOLECULE_HOSTS") == "podman"
    if os.geteuid() != 0 and not podman:
        print("molecule: the lab needs root: sudo make molecule; MOLECULE_HOSTS=podman does not", file=sys.stderr)
        return 2
    if not podman:
        subprocess.run([*LAB, "build", *SUITES], check=True, stdout=subprocess.DEVNULL)
    shares = [names] if podman else [share for i in range(options.workers) if (share := names[i :: options.workers])]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is below cleans up
    with tempfile.TemporaryDirectory(prefix="molecule-") as directory:
        bad = run(Path(directory), shares, options.keep)
    for name in (n for n, elsewhere in known.items() if elsewhere and n not in names):
        print(f"{name:20} not here: on virtual machines, make molecule-vm")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
