"""What is probed: names and addresses as they are written, and the addresses behind a name."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.model import Host

_FORM = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:\[\]/]+):(?P<port>\d{1,5})")
VARIABLES = ("hostaudit_vips", "hostaudit_probes")
MANAGEMENT, SERVERS = "hostaudit_management", "hostaudit_dns"


@dataclass(frozen=True, slots=True)
class Named:
    """A target as somebody wrote it."""

    text: str
    host: str
    """A name or an address, without brackets."""
    port: int
    place: str = field(default="", compare=False)
    """Where the inventory declares it; empty: somebody typed it."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """One address of a target."""

    target: str
    """As it was written."""
    address: str
    """Empty: the name has none, and ``error`` says why."""
    port: int
    error: str = ""


def parse(text: str, place: str = "") -> Named:
    """Read ``NAME:PORT``, ``10.0.0.100:443`` or ``[2001:db8::1]:443``. Raises UsageError that says ``place``."""
    match = _FORM.fullmatch(text.strip())
    where = f"{place}: " if place else ""
    if not match or not 0 < int(match["port"]) < 65536:
        raise UsageError(
            f"{where}{text!r} is not TARGET:PORT, as in 10.0.0.100:443, shop.example:443 or [2001:db8::1]:443"
        )
    host = match["host"].strip("[]")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise UsageError(f"{where}{host!r} in {text!r} is no IPv6 address") from None
    return Named(text.strip(), host, int(match["port"]), place)


def address(text: str, place: str = "") -> str:
    """Read an address without a port. Raises UsageError."""
    bare = text.strip().strip("[]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        where = f"{place}: " if place else ""
        raise UsageError(f"{where}{text!r} is no address; give one as 10.0.0.100 or 2001:db8::1") from None
    return bare


def resolved(named: Named) -> list[Addressed]:
    """Return every A and AAAA record of a target, asked from here. Raises UsageError where there is none."""
    found = known(named)
    if found[0].error:
        raise UsageError(f"{named.text}: {found[0].error}")
    return found


def known(named: Named) -> list[Addressed]:
    """Return the same; where there is no address, the target without one, and why. Raises nothing.

    A name that the inventory declares may stop being resolved while hosts are audited, or be one that only ssh knows:
    that is no reason to lose what everybody else has to say.
    """
    try:
        found = socket.getaddrinfo(named.host, named.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        said = getattr(problem, "strerror", None) or str(problem)
        place = f"; declared by {named.place}" if named.place else ""
        error = f"the name could not be resolved from here ({said}){place}"
        return [Addressed(named.text, "", named.port, error)]
    addresses = {str(where[0]) for *_, where in found}
    ordered = sorted(addresses, key=lambda a: (":" in a, ipaddress.ip_address(a).packed))
    return [Addressed(named.text, one, named.port) for one in ordered]


def declared(hosts: Iterable[Host]) -> list[Named]:
    """Return the targets of the inventory: ``hostaudit_vips`` with a port, and ``hostaudit_probes``; each once."""
    found: dict[str, Named] = {}
    for host in hosts:
        for variable in VARIABLES:
            for text in _entries(host.variables.get(variable)):
                if variable == "hostaudit_vips" and not _FORM.fullmatch(text):
                    continue  # an address without a port: ARP and MTU can ask about it, TCP cannot
                named = parse(text, f"{host.name}: {variable}")
                found.setdefault(named.text, named)
    return sorted(found.values(), key=lambda n: n.text)


def management(hosts: Iterable[Host]) -> dict[Named, str]:
    """Return the management ports that are declared, with their host (``hostaudit_management``).

    An entry is a port of the host's own address, ``22``, or ADDRESS:PORT. Raises UsageError.
    """
    found: dict[Named, str] = {}
    for host in hosts:
        own = str(host.variables.get("ansible_host") or host.name)
        for text in _entries(host.variables.get(MANAGEMENT)):
            place = f"{host.name}: {MANAGEMENT}"
            if not text.isdigit() and not _FORM.fullmatch(text):
                raise UsageError(f"{place}: {text!r} is neither a port, as in 22, nor ADDRESS:PORT, as in 10.0.0.11:22")
            whole = f"{f'[{own}]' if ':' in own else own}:{text}" if text.isdigit() else text
            found.setdefault(parse(whole, place), host.name)
    return found


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server, and the names to ask it for."""

    address: str
    port: int
    names: tuple[str, ...]
    """With a dot at the end: no search domain is tried."""


def name_servers(hosts: Iterable[Host], named: Iterable[Named]) -> list[NameServer]:
    """Return the name servers that are declared (``hostaudit_dns``): addresses, or a table address -> names.

    A server without names is asked for those of the declared targets. Raises UsageError where there are none.
    """
    known = dict.fromkeys(one.host for one in named if not _is_address(one.host))
    found: dict[tuple[str, int], dict[str, None]] = {}
    for host in hosts:
        given = host.variables.get(SERVERS)
        place = f"{host.name}: {SERVERS}"
        for text in _entries(given):
            bare, port = (one.host, one.port) if (one := _with_port(text, place)) else (text, 53)
            names = dict.fromkeys(_entries(given[text])) if isinstance(given, dict) and text in given else known
            if not names:
                raise UsageError(f"{place}: no name to ask {text} for; write {{'{text}': 'shop.example'}}")
            found.setdefault((address(bare, place), port), {}).update(names)
    return [
        NameServer(server, port, tuple(f"{name.rstrip('.')}." for name in names))
        for (server, port), names in sorted(found.items())
    ]


def _with_port(text: str, place: str) -> Named | None:
    return parse(text, place) if _FORM.fullmatch(text) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def addresses(hosts: Iterable[Host]) -> list[str]:
    """Return the virtual addresses of the inventory (``hostaudit_vips``), with or without a port there; each once.

    Names and networks are left out: there is no single address to ask about.
    """
    found = set()
    for vip in {vip for host in hosts for vip in host.vips}:
        try:
            found.add(ipaddress.ip_address(vip))
        except ValueError:
            continue
    return [str(one) for one in sorted(found, key=lambda a: (a.version, a.packed))]


def _entries(given: Any) -> list[str]:
    """Return the entries of a variable: a list, a text with commas, or a table's keys."""
    if not given:
        return []
    parts = given if isinstance(given, list | tuple | dict) else str(given).split(",")
    return [text for part in parts if (text := str(part).strip())]
