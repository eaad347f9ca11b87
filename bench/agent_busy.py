"""The agent on a busy host, beside the commands that show the same: ``agent_busy.py [SHARE [ROUNDS]]``.

One network and one mount namespace are made a busy host (``busy_host.py``), with SHARE (1) of ``FULL``; whole processes
are measured in them, interleaved. CPU time includes Python's start and imports, which stand in a row of their own. The
results go to results-agent.json beside this file and from there into docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busy_host import PIN
from measure import interleaved, others

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent / "agent"
RESULTS = HERE / "results-agent.json"
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
FULL = {"sockets": 100_000, "rules": 10_000, "links": 5_000, "entries": 1_000_000, "routes": 5_000, "map": 500_000}
START = f"""
import gc, sys
HOSTAUDIT_BUNDLE = True  # as in the bundle
sys.path.insert(0, {str(AGENT)!r})
gc.set_threshold(20000)  # as there
from hostaudit_agent import netlink, snapshot
from hostaudit_agent.root import Root
def unread(part, reason): print(part, reason, file=sys.stderr)
"""
CENSUS = """
from hostaudit_agent.netfilter import census
with netlink.Netlink(netlink.NETLINK_NETFILTER, timeout=60.0) as nl:
    assert census.count(nl, expected={number}).entries >= {number}
"""
LEGACY = """
from hostaudit_agent.netfilter import iptables
found = iptables.read(Root())
assert not found.unread and sum(found.backends.values()) >= {number}, found
"""
NATIVE = LEGACY.replace("import iptables", "import nftables").replace("iptables.read", "nftables.read")
COUNT = """
from hostaudit_agent import tcpdiag
from hostaudit_agent.collectors import sockets
tally = sockets.Tally(bytearray(1 << 16))
for batch in tcpdiag.batches(Root(), tcpdiag.ALL): tally.add(batch)
assert tally.number >= {number}, tally.number
"""
SOCKETS = """
from hostaudit_agent.collectors import sockets
found = sockets.collect(Root(), sockets.sample(Root()), unread)
assert found.states["CLOSE_WAIT"]
"""
MAP = f"""
from hostaudit_agent import bpfmap
with bpfmap.Pinned({PIN!r}) as opened:
    assert opened.count(60.0) == {{number}}
"""
WALKED = MAP.replace("opened.count(60.0)", "sum(1 for _ in opened.keys(60.0))")
LINKS = """
from hostaudit_agent.collectors import link
assert len(link.collect(Root(), None, unread).links) >= {number}
"""
SURFACES = """
import json, time
from importlib import import_module
found = {{}}
for name in snapshot.SURFACES:
    module = import_module("hostaudit_agent.collectors." + name)
    least = float("inf")
    for _ in range(2):
        began = time.process_time()
        before = module.sample(Root()) if hasattr(module, "sample") else None
        surface = module.collect(Root(), before, unread)
        least = min(least, time.process_time() - began)
    found[name] = round(least * 1000, 1)
    if hasattr(module, "later"):
        began = time.process_time()
        module.later(Root(), surface, unread, census=True)
        found[name + ", later"] = round((time.process_time() - began) * 1000, 1)
print(json.dumps(found))
"""
SECTIONS: tuple[tuple[str, str, dict[str, list[str]], dict[str, str], float], ...] = (
    (
        "conntrack: {entries} entries, counted by state, source and target",
        "entries",
        {"conntrack -L -o extended": ["sh", "-c", "exec conntrack -L -o extended 2>/dev/null"]},
        {"agent, census": CENSUS},
        0.7,
    ),
    (
        "Legacy iptables: {rules} rules",
        "rules",
        {"iptables-legacy-save -c": ["iptables-legacy-save", "-c"]},
        {"agent, rules read and judged": LEGACY},
        1.0,
    ),
    (
        "nf_tables: {rules} rules",
        "rules",
        {"nft list ruleset": ["nft", "list", "ruleset"], "nft -j list ruleset": ["nft", "-j", "list", "ruleset"]},
        {"agent, rules read and judged": NATIVE},
        1.0,
    ),
    (
        "Sockets: {sockets}",
        "sockets",
        {"ss -tan": ["ss", "-tan"], "ss -tanp": ["ss", "-tanp"]},
        {"agent, counted": COUNT, "agent, the whole surface, twice, with the processes": SOCKETS},
        1.0,
    ),
    (
        "Interfaces: {links}",
        "links",
        {"ip -j link": ["ip", "-j", "link"], "ip -d -j link": ["ip", "-d", "-j", "link"]},
        {"agent, links, addresses, routes": LINKS},
        1.0,
    ),
    (
        "BPF map: {map} entries, counted",
        "map",
        {"bpftool map dump": ["sh", "-c", f"exec bpftool map dump pinned {PIN} >/dev/null"]},
        {"agent, in batches (Linux 6.15 and later)": MAP, "agent, key by key (before)": WALKED},
        0.7,
    ),
)
"""Title, number that it is about, peers (the first is the base of the ratios), the agent's parts, aim."""


@contextmanager
def busy(share: float) -> Iterator[tuple[list[str], dict[str, int]]]:
    """Make the namespace; yield what runs a command in it, and what there is."""
    wanted = [str(int(FULL[name] * share)) for name in ("sockets", "rules", "links", "entries", "routes", "map")]
    command = ["unshare", "--net", "--mount", sys.executable, str(HERE / "busy_host.py"), *wanted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        try:
            said = host.stdout.readline()
            if not said:
                message = "the namespace could not be filled"
                raise RuntimeError(message)
            yield ["nsenter", f"--target={host.pid}", "--net", "--mount"], json.loads(said)
        finally:
            host.stdin.close()


def python(code: str, number: int = 0) -> list[str]:
    """Return the command of a part of the agent."""
    return [PYTHON, "-I", "-S", "-c", START + code.format(number=number)]


def measure(share: float, rounds: int) -> dict[str, Any]:
    """Return all that is measured."""
    quiet = surfaces(["unshare", "--net"])
    found: dict[str, Any] = {"others": others(), "sections": [], "full": FULL}
    with busy(share) as (inside, there):
        found["there"] = there
        for title, about, peers, parts, aim in SECTIONS:
            commands = {name: [*inside, *command] for name, command in peers.items()}
            commands |= {name: [*inside, *python(code, there[about])] for name, code in parts.items()}
            commands["agent, start and nothing else"] = [*inside, *python("")]
            costs = interleaved(commands, rounds)
            rows = {name: asdict(cost) for name, cost in costs.items()}
            found["sections"].append({"title": title.format(**there), "rows": rows, "aim": aim})
            show(found["sections"][-1])
        found["surfaces"] = {name: [quiet[name], cost] for name, cost in surfaces(inside).items()}
        found["whole"] = whole(inside)
    return found


def surfaces(inside: list[str]) -> dict[str, float]:
    """Return the CPU milliseconds of each surface, both samples, in process."""
    done = subprocess.run([*inside, *python(SURFACES)], check=True, stdout=subprocess.PIPE, text=True)
    costs: dict[str, float] = json.loads(done.stdout)
    return costs


def whole(inside: list[str]) -> list[dict[str, Any]]:
    """Run the bundle with its own budget, and with smaller ones."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "agent.pyz"
        subprocess.run([sys.executable, "-m", "hostaudit.bundle", str(bundle)], check=True, stdout=subprocess.DEVNULL)
        for budget in ("wall=24,cpu=10", "cpu=1", "cpu=0.3", "memory=30", "answer=1"):
            command = [*inside, PYTHON, "-I", "-S", str(bundle), "--interval", "0.1", "--budget", budget]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            read = json.loads(answer)
            left = [u["surface"] for u in read.get("unread", []) if u["reason"].startswith("budget:")]
            rows.append(
                {
                    "budget": budget,
                    "cpu_ms": read["cpu_ms"],
                    "peak_mib": read["peak_kib"] / 1024,
                    "kib": len(answer) >> 10,
                    "unread": left,
                }
            )
    return rows


def keep(name: str, found: dict[str, Any]) -> None:
    """Put results into the file, beside those of other benchmarks."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, name: found}, indent=1) + "\n")


def show(section: dict[str, Any]) -> None:
    """Print one table."""
    base = next(iter(section["rows"].values()))["cpu_ms"]
    print(f"\n{section['title']} (aim: {section['aim']})\n")
    for name, row in section["rows"].items():
        print(f"  {name:<54} {row['cpu_ms']:>8.1f} ms {row['peak_mib']:>7.1f} MiB {row['cpu_ms'] / base:>7.2f}")


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0 or not (shutil.which("conntrack") and shutil.which("bpftool")):
        print("\nThe agent on a busy host\n\n  left out: needs root, to fill a namespace, conntrack and bpftool")
        return 0
    share, rounds = (float(word) for word in (arguments + ["1", "3"][len(arguments) :]))
    found = measure(share, int(rounds))
    print("\nSurfaces, CPU ms of both samples on a quiet and on the busy host\n")
    for name, (quiet, cost) in sorted(found["surfaces"].items(), key=lambda item: item[1][1]):
        print(f"  {name:<12} {quiet:>8.1f} {cost:>9.1f}")
    print("\nThe whole agent within a budget\n")
    for row in found["whole"]:
        print(
            f"  {row['budget']:<16} {row['cpu_ms']:>8.0f} ms {row['peak_mib']:>6.1f} MiB {row['kib']:>6} KiB  "
            f"{', '.join(row['unread'])}"
        )
    keep("busy", found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
