"""What it costs to listen on a host that forwards many packets: the agent's CPU, and frames that the kernel dropped.

    .venv/bin/python bench/capture.py [PACKETS_PER_SECOND [SECONDS]]

A bridge in a namespace of its own forwards packets of other connections, as fast as asked or as this machine can, while
the sensor listens for one series of connections, to which one packet of a thousand belongs. Needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"

# Sends through the bridge: raw frames, many per second, one of a thousand from a port of the probe.
SENDER = """
import socket, struct, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); out.bind(("near", 0))
def frame(sport):
    tcp = struct.pack("!HHIIBBHHH", sport, 8080, 7, 0, 5 << 4, 2, 1000, 0, 0)
    words = [0x4500, 40, 1, 0, 0x4006, 0, 0x0A00, 0x000A, 0x0A00, 0x0064]
    total = sum(words)
    words[5] = 0xFFFF - (total % 0x10000 + total // 0x10000)  # br_netfilter drops what has a wrong one
    ip = struct.pack("!10H", *words)
    return bytes.fromhex("02000000000202000000000a0800") + ip + tcp
other, mine = frame(40000), frame(61001)
began = time.monotonic(); sent = 0
while (now := time.monotonic() - began) < seconds:
    due = int(now * rate)
    while sent < due:
        out.send(mine if sent % 1000 == 0 else other); sent += 1
    time.sleep(0.0005)
print(sent)
"""
LISTENER = """
import json, sys, time
sys.path.insert(0, {agent!r})
from hostaudit_agent.capture.live import Live
from hostaudit_agent.capture.sensor import Request, Sensor
began = time.process_time()
heard = Sensor(Request(["10.0.0.100"], [61000, 61009], seconds=float(sys.argv[1]), packets=200_000)).listen(Live(""))
print(json.dumps([heard.packets, heard.drops, (time.process_time() - began) * 1000]))
"""
LINKS = """
link add near type veth peer name in0
link add out0 type veth peer name far
link add br0 type bridge
link set in0 master br0
link set out0 master br0
"""
NAMES = ("near", "in0", "out0", "far", "br0")


def inside(rate: float, seconds: float) -> None:
    """Run in the new namespace: build, send, listen, print the numbers."""
    ups = "".join(f"link set {name} up\n" for name in NAMES)
    subprocess.run(["ip", "-batch", "-"], input=LINKS + ups, text=True, check=True)
    time.sleep(1)
    code = LISTENER.format(agent=str(ROOT / "agent"))
    listener = subprocess.Popen([PYTHON, "-I", "-S", "-c", code, str(seconds + 2)], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    before = _forwarded()
    sender = subprocess.run(
        [PYTHON, "-I", "-S", "-c", SENDER, str(rate), str(seconds)], check=True, capture_output=True, text=True
    )
    forwarded = _forwarded() - before
    out, _ = listener.communicate()
    packets, drops, cpu = json.loads(out)
    sent = int(sender.stdout)
    print(f"\nListening on a bridge that forwards ({seconds:.0f} s)\n")
    print(f"  forwarded {forwarded / seconds:>10,.0f} packets/s of {sent / seconds:,.0f} sent")
    print(f"  kept      {packets:>10,} frames (each passes four ports), dropped by the kernel: {drops}")
    print(f"  agent     {cpu:>10.0f} ms CPU, {cpu / seconds / 10:.2f} % of one processor")


def _forwarded() -> int:
    text = subprocess.run(["ip", "-j", "-s", "link", "show", "out0"], check=True, capture_output=True, text=True).stdout
    return int(json.loads(text)[0]["stats64"]["tx"]["packets"])


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--inside"]:
        inside(float(arguments[1]), float(arguments[2]))
        return 0
    if os.geteuid() != 0:
        print("\nListening on a bridge that forwards\n\n  left out: needs root, to make a namespace with a bridge")
        return 0
    rate, seconds = (arguments + ["100000", "5"][len(arguments) :])[:2]
    command = ["unshare", "--net", sys.executable, __file__, "--inside", rate, seconds]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
