"""``make bench``: what the program costs, beside peers measured in the same run.

CPU milliseconds (user and system, children included), the least of several runs; ratios are what to quote.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import agent_busy
import agent_delivery
import capture
import history
import page
from measure import Cost, interleaved

BIN = Path(sys.executable).parent
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
"""The system's own, as on a node; a version manager's shim in PATH would be measured instead."""


def table(title: str, costs: dict[str, Cost], base: str) -> None:
    """Print the costs with their ratio to ``base``."""
    print(f"\n{title}\n")
    print(f"  {'command':<44} {'CPU ms':>8} {'peak MiB':>9} {'ratio':>7}")
    for name, one in costs.items():
        print(f"  {name:<44} {one.cpu_ms:>8.1f} {one.peak_mib:>9.1f} {one.cpu_ms / costs[base].cpu_ms:>7.2f}")


def startup() -> None:
    """Measure what a person waits for before anything happens."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "hostaudit --help": [str(BIN / "hostaudit"), "--help"],
        "ansible --version": [str(BIN / "ansible"), "--version"],
    }
    table("Start-up", interleaved(commands), "python -c pass")


def agent(scratch: Path) -> None:
    """Measure a whole snapshot, one sample, beside the commands that show the same to a person."""
    bundle = scratch / "agent.pyz"
    subprocess.run([sys.executable, "-m", "hostaudit.bundle", str(bundle)], check=True)
    by_hand = " ; ".join(
        f"{command} >/dev/null 2>&1"
        for command in (
            "conntrack -S",
            "conntrack -C",
            "sysctl -a",
            "iptables-legacy-save -c",
            "ip6tables-legacy-save -c",
            "nft -j list ruleset",
            "ip -d -j link",
            "ip -j address",
            "nstat -az",
            "cat /etc/os-release /etc/sysctl.d/*.conf",
        )
    )
    commands = {
        "python3 -I -S -c pass": [PYTHON, "-I", "-S", "-c", "pass"],
        f"agent, one snapshot ({bundle.stat().st_size / 1024:.0f} KiB)": [
            PYTHON,
            "-I",
            "-S",
            str(bundle),
            "--interval",
            "0",
        ],
        "the same by hand, ten commands": ["sh", "-c", f"{by_hand}; true"],
    }
    table("Agent", interleaved(commands), "python3 -I -S -c pass")


LINKS = """
import sys, time
sys.path.insert(0, {agent!r})
from pyroute2 import IPRoute
from hostaudit_agent.root import Root
from hostaudit_agent.collectors import link
def timed(call, n=5):
    best = 1e9
    for _ in range(n):
        start = time.process_time(); call(); best = min(best, time.process_time() - start)
    return best * 1e3
with IPRoute() as ip:
    peer = timed(lambda: list(ip.get_links()))
    number = len(list(ip.get_links()))
own = timed(lambda: link.collect(Root(), None, lambda part, reason: None))
print(f"  {{number}} links: pyroute2 {{peer:.1f}} ms (links only), own reader {{own:.1f}} ms "
      f"(links, addresses, routes): ratio {{own / peer:.2f}}")
"""


def netlink() -> None:
    """Compare the agent's rtnetlink reader with pyroute2's on a host with many links."""
    print("\nrtnetlink, in process\n")
    if os.geteuid() != 0:
        print("  left out: needs root, to make a namespace with 300 links")
        return
    code = LINKS.format(agent=str(Path(__file__).resolve().parent.parent / "agent"))
    links = "".join(f"link add v{n} type veth peer name w{n}\n" for n in range(150))
    command = ["unshare", "--net", "sh", "-c", 'ip -batch - && exec "$@"', "bench", sys.executable, "-c", code]
    subprocess.run(command, input=links, text=True, check=True)


def main() -> int:
    """Run everything."""
    with tempfile.TemporaryDirectory() as scratch:
        startup()
        agent(Path(scratch))
        netlink()
        capture.main([])
    agent_busy.main([])
    agent_delivery.main([])
    history.main()
    return page.main([])


if __name__ == "__main__":
    sys.exit(main())
