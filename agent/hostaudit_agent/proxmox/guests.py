"""Guests of this node: their interfaces, and what their firewall does with packets.

Configurations are read above their first section: below it are snapshots and pending changes (qemu-server and
pve-container, ``parse_net`` and ``parse_lxc_network``). Names of ports follow from VMID and index (pve-common,
src/PVE/Network.pm): ``tap100i0`` or ``veth100i0``; with ``firewall=1``, ``fwpr100p0`` is on the bridge, and
``fwln100i0`` and the tap are on ``fwbr100i0``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hostaudit_agent.snapshot import Guest, GuestFirewall, GuestNic

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.proxmox.fwfile import Reading
    from hostaudit_agent.root import Root

KINDS = {"qemu": ("qemu-server", "name"), "lxc": ("lxc", "hostname")}
"""Kind of guest -> its folder below /etc/pve/nodes/<node>, and the key that holds its name."""
MOST = 2048
"""Guests of one node that are read."""
MOST_RULES = 32
_NIC = re.compile(r"net(\d+):\s*(\S.*?)\s*", re.ASCII)
_ACCEPT = re.compile(r"in\s+(?:\S+\(accept\)|accept)(?:\s|$)", re.IGNORECASE)
_GROUP = re.compile(r"group\s+(\S+)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:\d+\.[\d.]+|[\da-f]*:[\da-f:.]*)(?:/\d+)?", re.IGNORECASE | re.ASCII)
_TAIL = re.compile(r"\s*#.*")


def read(root: Root, node: str, read_file: Callable[[str], Reading | None], cluster: Reading) -> list[Guest]:
    """Return the guests of a node in order of VMID.

    ``read_file`` reads a firewall file as the live implementation does; ``None`` where there is none. Raises OSError.
    """
    found = []
    for kind, (folder, title) in KINDS.items():
        directory = f"etc/pve/nodes/{node}/{folder}"
        for name in root.names(directory)[:MOST]:
            vmid, _, ending = name.partition(".")
            text = root.read_text(f"{directory}/{name}") if vmid.isdecimal() and ending == "conf" else None
            if text is None:  # no guest, or migrated away meanwhile
                continue
            guest = parse(text, int(vmid), kind, title)
            reading = read_file(f"/etc/pve/firewall/{vmid}.fw")
            if reading is not None:
                _filter(guest, reading, cluster.sections)
            found.append(guest)
    return sorted(found, key=lambda guest: guest.vmid)


def parse(text: str, vmid: int, kind: str, title: str = "name") -> Guest:
    """Parse a guest's configuration; ``title`` is the key of its name."""
    guest = Guest(vmid, kind)
    for line in text.split("\n"):
        if line.startswith("["):
            break
        if line.startswith("net"):
            match = _NIC.fullmatch(line)
            if match:
                guest.nics.append(nic(int(match.group(1)), match.group(2), kind))
        elif line.startswith(title + ":"):
            guest.name = line.partition(":")[2].strip()
    guest.nics.sort(key=lambda one: one.index)
    return guest


def nic(index: int, text: str, kind: str) -> GuestNic:
    """Parse ``virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1`` or ``name=eth0,bridge=vmbr0,hwaddr=...``."""
    pairs = [part.strip().partition("=") for part in text.split(",")]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    model, mac = values.get("type", "veth"), values.get("hwaddr", "")
    if kind == "qemu":
        short = pairs[0][0].strip()
        model = values.get("model") or short
        mac = values.get("macaddr") or values.get(short, "")
    return GuestNic(
        index=index,
        mac=mac.lower(),
        bridge=values.get("bridge", ""),
        model=model,
        firewall=values.get("firewall") == "1",
        tag=_number(values.get("tag")),
        trunks=values.get("trunks", ""),
        mtu=_number(values.get("mtu")),
        link_down=values.get("link_down") == "1",
        addresses=[values[key] for key in ("ip", "ip6") if values.get(key, "")[:1].isalnum() and "/" in values[key]],
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _filter(guest: Guest, reading: Reading, shared: dict[str, list[str]]) -> None:
    """Fill in what the guest's firewall file says; groups, sets and aliases of the cluster are ``shared``."""
    own = reading.options
    guest.firewall = GuestFirewall(
        enabled=own.get("enable") == "1",
        policy_in=own.get("policy_in", "DROP"),
        policy_out=own.get("policy_out", "ACCEPT"),
        ipfilter=own.get("ipfilter") == "1",
        accepts=_accepts(reading.sections.get("rules", []), shared)[:MOST_RULES],
    )
    for one in guest.nics:
        entries = reading.sections.get(f"ipset ipfilter-net{one.index}")
        if entries is not None:
            one.ipfilter = [_entry(line, reading.sections, shared) for line in entries]


def _accepts(rules: list[str], shared: dict[str, list[str]]) -> list[str]:
    """Return the rules in force that accept incoming packets; one that begins with ``|`` is switched off."""
    found = []
    for line in rules:
        rule = _TAIL.sub("", line)
        group = _GROUP.match(rule)
        inside = shared.get(f"group {group.group(1).lower()}", []) if group else [rule]
        found += [_TAIL.sub("", one) for one in inside if _ACCEPT.match(one)]
    return found


def _entry(line: str, own: dict[str, list[str]], shared: dict[str, list[str]]) -> str:
    """Return an entry of a set: the address behind an alias where it is known, else the word as it stands."""
    text = _TAIL.sub("", line).strip()
    sign, word = ("! ", text[1:].strip()) if text.startswith("!") else ("", text)
    if _ADDRESS.fullmatch(word):
        return sign + word
    scope, _, name = word.rpartition("/")
    places = {"dc": [shared], "guest": [own]}.get(scope, [own, shared])
    aliases = (line.split() for place in places for line in place.get("aliases", []))
    return sign + next((parts[1] for parts in aliases if len(parts) > 1 and parts[0].lower() == name.lower()), word)
