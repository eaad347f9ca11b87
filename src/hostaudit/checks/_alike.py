"""A snapshot as flat facts that hosts of one kind should share. Pure.

COMPARED says which surfaces are compared, MAY_DIFFER what inside them may differ between hosts that are alike: names,
addresses, guests, and what moves by itself (``hostaudit.volatile``). All the rest is compared, so a field or a rule
that a snapshot gains later is compared by itself. Addresses and names of single hosts and guests are taken out of
texts, so that ``-s 10.1.0.0/24`` of one node and ``-s 10.2.0.0/24`` of the next are the same rule.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hostaudit import volatile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.checks import View

COMPARED = ("firewall", "sysctl", "platform", "link", "conntrack", "route", "resolver", "boot")
OF_THE_SYSTEM = ("sysctl", "conntrack", "resolver", "boot")
"""Surfaces whose defaults each release has its own of: compared among hosts of one release."""
ABSENT, THERE = "absent", "there"
MAY_DIFFER = re.compile(
    r"platform\.(hostname|cpus|memory|uptime|first_netns|owners\[.*\]\.evidence)"
    r"|platform\.proxmox\.(node|quorate|guests|misread|misplaced|ignored|comments|pending_network|options_file|cluster_enable)\b.*"
    r"|conntrack\.(count|stats|per_cpu|delta|census|source|max_writable)\b.*"
    r"|firewall\.(nat|dead_backends|backends_seen|xtables_lock)\b.*"
    r"|sysctl\.(effective|not_applied)\b.*"
    r"|route\.(total|truncated)\b.*"
    r"|sysctl\.knobs\..*\.(writable|configured|overridden)\b.*"
    r"|sysctl\.knobs\.net\.ipv[46]\.(conf|neigh)\.(?!(all|default)\.).*"
    r"|sysctl\.knobs\.(kernel\.(random|hostname|domainname|ns_last_pid|pty)|fs\.(file-nr|inode|dentry)).*"
    r"|link\.links\[(tap|veth|fwbr|fwln|fwpr|cali|lxc|br-|docker|virbr|vnet)[^\]]*\].*"
    r"|link\.links\[.*\]\.(?!(mtu|kind)$).*"
    r"|platform\.boot_id"
    rf"|.*\.(?:{volatile.PATTERN})(?:[.\[].*)?",
)
PRESENCE = volatile.PRESENCE
SIZED = re.compile(
    r"conntrack\.(max|buckets|hashsize|expect_max)"
    r"|sysctl\.knobs\.net\.(netfilter\.nf_conntrack_(max|buckets|expect_max)|ipv4\.(tcp|udp)_(mem|max_.*)|core\..*)\..*"
)
"""What the kernel, or a daemon, computes from memory and processors."""
_PLAIN = (
    (re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b"), "<mac>"),
    (re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?:/\d+)?(?![\w:])"), "<address>"),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?(?![\w.])"), "<address>"),
    (re.compile(r"\b(tap|veth|fwbr|fwln|fwpr)\d+(?=[ip]\d)"), r"\1*"),
    (re.compile(r"\b(veth|cali|lxc|br-|CNI-)[0-9a-f]{4,}\b"), r"\1*"),
    (re.compile(r"\b(KUBE-[A-Z]{2,4}-)[A-Z2-7]{16}\b"), r"\1*"),
)
_NAMES = ("name", "file")
"""Fields by which a record of a list is known."""


def flat(view: View) -> dict[str, str]:
    """Return path -> value; what could not be read in full is left out, surface by surface."""
    facts: dict[str, str] = {}
    name = view.snapshot.platform.hostname if view.snapshot.platform else ""
    for surface in surfaces(view):
        for path, value in _walk(surface, getattr(view.snapshot, surface), name):
            if facts.get(path, value) != value:  # two guests' ports with one name
                value = " or ".join(sorted({*facts[path].split(" or "), value}))
            facts[path] = value
    return facts


def surfaces(view: View) -> list[str]:
    """Return the surfaces of this host that can be compared."""
    return [s for s in COMPARED if getattr(view.snapshot, s, None) is not None and not view.unread(s)]


def groups(views: Sequence[View], path: str) -> list[list[str]]:
    """Return the names of the hosts that are compared in this fact with each other: all that read it, or by release."""
    surface = re.split(r"[.\[]", path, maxsplit=1)[0]
    found: dict[tuple[str, str], list[str]] = {}
    for view in views:
        platform = view.snapshot.platform
        release = (platform.os_id, platform.os_version) if platform and surface in OF_THE_SYSTEM else ("", "")
        if surface in surfaces(view):
            found.setdefault(release, []).append(view.host.name)
    return list(found.values())


def unread(view: View) -> list[str]:
    """Return the surfaces that were not read, or not in full."""
    return [s for s in COMPARED if view.unread(s)]


def size(view: View) -> tuple[int, int]:
    """Return processors, and memory as a power of two: hosts of one size compute the same limits."""
    platform = view.snapshot.platform
    return (platform.cpus, platform.memory.bit_length()) if platform else (0, 0)


def plain(text: str, hostname: str) -> str:
    """Return a text without what belongs to one host or guest only."""
    text = _general(text)
    return re.sub(rf"\b{re.escape(hostname)}\b", "<host>", text) if len(hostname) > 2 and hostname in text else text


@lru_cache(maxsize=1 << 16)
def _general(text: str) -> str:
    """Return a text without addresses and names of guests; most texts are the same on every host."""
    for pattern, word in _PLAIN:
        text = pattern.sub(word, text)
    return text


@lru_cache(maxsize=1 << 17)
def _may_differ(path: str) -> bool:
    return MAY_DIFFER.fullmatch(path) is not None


def _walk(path: str, value: Any, hostname: str) -> Iterator[tuple[str, str]]:
    if _may_differ(path):
        return
    if is_dataclass(value):
        for one in fields(value):
            yield from _walk(f"{path}.{one.name}", getattr(value, one.name), hostname)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(f"{path}.{plain(str(key), hostname)}", inner, hostname)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _member(path, inner, hostname)
    else:
        yield path, THERE if PRESENCE.fullmatch(path) else plain(str(value), hostname)


def _member(path: str, value: Any, hostname: str) -> Iterator[tuple[str, str]]:
    """Yield the facts of one element: known by its text, else by its name, else by its value."""
    if not is_dataclass(value):
        yield f"{path}[{plain(str(value), hostname)}]", THERE
        return
    if text := getattr(value, "text", ""):
        where = "/".join(str(getattr(value, key, "")) for key in ("backend", "family", "table", "chain")).strip("/")
        yield f"{path}[{plain(f'{where} {text}'.strip(), hostname)}]", THERE
        return
    name = next((str(getattr(value, key)) for key in _NAMES if getattr(value, key, "")), "")
    if name:
        for one in fields(value):
            if one.name not in _NAMES:
                yield from _walk(f"{path}[{plain(name, hostname)}].{one.name}", getattr(value, one.name), hostname)
    else:
        facts = sorted(f"{key.removeprefix('.')} {v}" for key, v in _walk("", value, hostname))
        yield f"{path}[{', '.join(facts)}]", THERE
