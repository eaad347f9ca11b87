"""Protocol, backlog and neighbour counters: /proc/net/{snmp,netstat,snmp6,softnet_stat} and /proc/net/stat/*_cache.

Columns are taken by their header's names. Two files have none: snmp6 has one ``name value`` per line, and of
softnet_stat the first three columns are as old as the file (net/core/net-procfs.c: processed, dropped, time_squeeze;
hexadecimal, one line per CPU). softnet_stat is the whole host's, also in another namespace; the neighbour caches are
shown in the first namespace only, and their ``entries`` is the table's total, repeated on every CPU's line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit_agent.collectors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import Counters

PAIRED = ("snmp", "netstat")
CACHES = ("arp_cache", "ndisc_cache")
SOFTNET = ("processed", "dropped", "time_squeeze")
IPV6 = ("Ip6", "Icmp6", "UdpLite6", "Udp6")
GAUGES = frozenset(("Tcp.CurrEstab", "Tcp.MaxConn", "arp_cache.entries", "ndisc_cache.entries"))
"""They rise and fall; their delta may be negative."""


def sample(root: Root) -> dict[str, int]:
    """Return every counter by its name; what this kernel does not have is absent. Raises OSError, ValueError."""
    totals: dict[str, int] = {}
    for name in PAIRED:
        totals.update(parse_paired(root.read_text("proc/net/" + name) or ""))
    totals.update(parse_snmp6(root.read_text("proc/net/snmp6") or ""))
    totals.update(parse_softnet(root.read_text("proc/net/softnet_stat") or ""))
    for name in CACHES:
        totals.update(parse_cache(name, root.read_text("proc/net/stat/" + name) or ""))
    return totals


def collect(root: Root, before: dict[str, int] | None, unread: Callable[[str, str], None]) -> Counters:
    """Return the totals, and the increases since ``before``."""
    from hostaudit_agent.snapshot import Counters  # noqa: PLC0415 - the installed agent samples, and does without the schema

    del unread
    totals = sample(root)
    if not totals:
        raise UnreadableError("/proc/net has no counters: is /proc mounted?")
    return Counters(totals, None if before is None else dict(_increases(before, totals)))


def parse_paired(text: str) -> dict[str, int]:
    """Parse snmp and netstat: a line of names and a line of values for each protocol."""
    found: dict[str, int] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        protocol, _, header = names.partition(":")
        again, _, numbers = values.partition(":")
        if protocol != again:
            raise ValueError(f"a line of {protocol} is followed by one of {again}")
        found.update((f"{protocol}.{name}", int(value)) for name, value in zip(header.split(), numbers.split()))
    return found


def parse_snmp6(text: str) -> dict[str, int]:
    """Parse snmp6: ``Ip6InReceives 12`` becomes ``Ip6.InReceives``."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, value = line.split()
        protocol = next((p for p in IPV6 if name.startswith(p)), "")
        found[f"{protocol}.{name[len(protocol) :]}" if protocol else name] = int(value)
    return found


def parse_softnet(text: str) -> dict[str, int]:
    """Parse softnet_stat: the sums over CPUs of its first three columns."""
    rows = [[int(column, 16) for column in line.split()[:3]] for line in text.splitlines()]
    return {f"softnet.{name}": sum(column) for name, column in zip(SOFTNET, zip(*rows))}


def parse_cache(table: str, text: str) -> dict[str, int]:
    """Parse stat/arp_cache: hexadecimal, a line per CPU to be summed, except ``entries``."""
    lines = text.splitlines()
    if len(lines) < 2:
        return {}
    names = lines[0].split()
    columns = zip(*([int(column, 16) for column in line.split()] for line in lines[1:]))
    return {f"{table}.{n}": c[0] if n == "entries" else sum(c) for n, c in zip(names, columns)}


def _increases(before: dict[str, int], after: dict[str, int]) -> Iterable[tuple[str, int]]:
    for name, value in after.items():
        old = before.get(name, 0)  # IcmpMsg.InType3 is listed once it is not zero
        if value != old:
            change = value - old if name in GAUGES else increase(old, value)
            if change is not None:
                yield name, change


def increase(old: int, new: int) -> int | None:
    """Return the increase of a counter that wraps at 2**32 or 2**64; ``None`` when it went backwards.

    A counter of 32 bits has wrapped when it stood in the last quarter of its range and is now in the first.
    """
    if new >= old:
        return new - old
    size = 1 << (32 if old < 1 << 32 else 64)
    return size - old + new if old >= size // 4 * 3 and new < size // 4 else None
