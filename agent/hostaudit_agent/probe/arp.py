"""Who answers ARP for an address: probes as in RFC 5227 (sender 0.0.0.0), which no neighbour's cache learns from.

Asked several times on the interface whose subnet holds the address; every round keeps the MAC addresses that answered
in it. Two in one round are two owners; another one in the next round is an owner that moved. The Linux kernel answers
such a probe for its own addresses (net/ipv4/arp.c, "IPv4 duplicate address detection"), but neither by proxy ARP nor
with ``arp_ignore`` of 2 or more.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from typing import Any

from hostaudit_agent.records import dataclass, field

ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
"""Hardware and protocol type and length, operation; sender's and target's hardware and protocol addresses."""
MOST_MACS = 16


@dataclass
class Heard:
    """What was heard about one address."""

    address: str
    interface: str = ""
    gateway: str = ""
    """The address is behind this router, on no segment of ours: nobody was asked."""
    mine: bool = False
    """This host has the address: nobody was asked."""
    rounds: list[list[str]] = field(default_factory=list)
    """For each time that was asked: the MAC addresses that answered, in the order of their answers."""
    announced: list[str] = field(default_factory=list)
    """MAC addresses that announced the address unasked meanwhile."""
    error: str = ""


def perform(task: dict[str, Any]) -> list[Heard]:
    """Ask about ``addresses``, ``asks`` times, listening ``seconds`` each time; on ``interface`` where one is given.

    Raises PermissionError without CAP_NET_RAW.
    """
    return [
        ask(address, str(task.get("interface", "")), int(task.get("asks", 3)), float(task.get("seconds", 0.7)))
        for address in task["addresses"]
    ]


def ask(address: str, interface: str, asks: int, seconds: float) -> Heard:
    """Ask about one address. Raises PermissionError."""
    heard = Heard(address, interface)
    if ":" in address:
        heard.error = "ARP is of IPv4; IPv6 has neighbour discovery, which is not asked here"
        return heard
    found = _route(address)
    heard.mine = _local(address)
    if heard.mine:
        return heard
    if not interface:
        if found is None:
            heard.error = "no route leads there"
            return heard
        heard.interface, heard.gateway = found
        if heard.gateway:
            return heard
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as sock:
        sock.bind((heard.interface, ETH_P_ARP))
        mac = sock.getsockname()[4]
        if len(mac) != 6:
            heard.error = f"{heard.interface} is no Ethernet"
            return heard
        for _ in range(asks):
            sock.send(probe(mac, address))
            heard.rounds.append(_listen(sock, mac, heard, seconds))
    return heard


def probe(mac: bytes, address: str) -> bytes:
    """Return the frame: a broadcast that asks for ``address`` and claims none."""
    packed = socket.inet_aton(address)
    arp = _ARP.pack(1, 0x0800, 6, 4, REQUEST, mac, bytes(4), bytes(6), packed)
    return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + arp


def read(frame: bytes) -> tuple[int, str, str] | None:
    """Return operation, sender's MAC and sender's address of an ARP frame; ``None`` for anything else."""
    if len(frame) < 14 + _ARP.size or frame[12:14] != struct.pack("!H", ETH_P_ARP):
        return None
    hardware, protocol, _, _, operation, mac, sender, _, _ = _ARP.unpack_from(frame, 14)
    if (hardware, protocol) != (1, 0x0800):
        return None
    return operation, ":".join(f"{byte:02x}" for byte in mac), socket.inet_ntoa(sender)


def _listen(sock: socket.socket, own: bytes, heard: Heard, seconds: float) -> list[str]:
    """Return the MAC addresses that answer within the time."""
    macs: list[str] = []
    end = time.monotonic() + seconds
    while len(macs) < MOST_MACS:
        left = end - time.monotonic()
        if left <= 0:
            break
        sock.settimeout(left)
        try:
            frame = sock.recv(2048)
        except socket.timeout:
            break
        said = read(frame)
        if said is None or said[2] != heard.address or frame[6:12] == own:
            continue
        if said[0] == REPLY and said[1] not in macs:
            macs.append(said[1])
        if said[0] == REQUEST and len(heard.announced) < MOST_MACS:
            heard.announced.append(said[1])
    return macs


def _local(address: str) -> bool:
    """Say whether this host has the address: a socket can be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _route(address: str) -> tuple[str, str] | None:
    """Return interface and gateway of the main table's route to an address; the gateway is empty for a neighbour."""
    with open("/proc/net/route", encoding="ascii") as file:
        lines = file.read().splitlines()
    return route(lines, address)


def route(lines: list[str], address: str) -> tuple[str, str] | None:
    """Do that with the lines of /proc/net/route, whose addresses are in the machine's byte order."""
    wanted = int(ipaddress.IPv4Address(address))
    best: tuple[int, int, str, str] | None = None
    names = lines[0].split() if lines else []
    for line in lines[1:]:
        row = dict(zip(names, line.split()))
        try:
            network, mask, gateway = (
                struct.unpack("!I", struct.pack("=I", int(row[name], 16)))[0]
                for name in ("Destination", "Mask", "Gateway")
            )
            metric = int(row["Metric"])
        except (KeyError, ValueError):
            continue
        if wanted & mask != network or not int(row["Flags"], 16) & 1:
            continue
        candidate = (
            -bin(mask).count("1"),
            metric,
            row["Iface"],
            str(ipaddress.IPv4Address(gateway)) if gateway else "",
        )
        best = min(best, candidate) if best else candidate
    return best[2:] if best else None
