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
    from collections.abc import Sequence

    from hostaudit.checks import View

COMPARED = ("firewall", "sysctl", "platform", "link", "conntrack", "route", "resolver", "bpf", "boot")
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
    r"conntrack\.(max|buckets|hashsize|expect_max)|bpf\.maps\[.*\]\.max"
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
_NUMBERS = frozenset({bool, int, float})
NOBODY = "\0"
"""A host's name that no text holds; names of one or two letters are in too many."""


def flat(view: View) -> dict[str, str]:
    """Return path -> value; what could not be read in full is left out, surface by surface."""
    facts: dict[str, str] = {}
    name = view.snapshot.platform.hostname if view.snapshot.platform else ""
    name = name if len(name) > 2 else NOBODY
    for surface in view.once(surfaces):
        found: list[tuple[str, str]] = []
        _walk(surface, getattr(view.snapshot, surface), name, found)
        before = len(facts)
        facts.update(found)
        if len(facts) - before < len(found):
            _merge(facts, found)
    return facts


def _merge(facts: dict[str, str], found: list[tuple[str, str]]) -> None:
    """Put together what has one path: two guests' ports with one name."""
    several: dict[str, set[str]] = {}
    for path, value in found:
        several.setdefault(path, set()).add(value)
    facts.update({path: " or ".join(sorted(values)) for path, values in several.items()})


def surfaces(view: View) -> list[str]:
    """Return the surfaces of this host that can be compared."""
    there = [s for s in COMPARED if getattr(view.snapshot, s, None) is not None]
    return [s for s in there if not view.unread(s)] if view.snapshot.unread else there


def groups(views: Sequence[View], path: str) -> list[list[str]]:
    """Return the names of the hosts that are compared in this fact with each other: all that read it, or by release."""
    surface = re.split(r"[.\[]", path, maxsplit=1)[0]
    found: dict[tuple[str, str], list[str]] = {}
    for view in views:
        platform = view.snapshot.platform
        release = (platform.os_id, platform.os_version) if platform and surface in OF_THE_SYSTEM else ("", "")
        if surface in view.once(surfaces):
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


@lru_cache(maxsize=1 << 16)
def _below(path: str, key: str, hostname: str = NOBODY) -> str:
    """Return the path of what stands under a key; empty where it may differ."""
    inner = f"{path}.{plain(key, hostname)}"
    return "" if _may_differ(inner) else inner


@lru_cache(maxsize=1 << 16)
def _compared(path: str, kind: Any) -> tuple[tuple[str, str], ...]:
    """Return the fields of a record at ``path`` that are compared, each with its own path."""
    named = ((one.name, f"{path}.{one.name}") for one in fields(kind))
    return tuple((name, inner) for name, inner in named if not _may_differ(inner))


@lru_cache(maxsize=1 << 16)
def _said(path: str, text: str, hostname: str = NOBODY) -> str:
    """Return what is compared of a text at ``path``; the host's name is given where the text holds it."""
    return THERE if PRESENCE.fullmatch(path) else plain(text, hostname)


def _walk(path: str, value: Any, hostname: str, found: list[tuple[str, str]]) -> None:
    """Append the facts of a value; the caller has seen that ``path`` is compared."""
    kind: Any = type(value)
    if kind is str:
        found.append((path, _said(path, value, hostname) if hostname in value else _said(path, value)))
    elif value is None or kind in _NUMBERS:
        text = str(value)
        found.append((path, _said(path, text, hostname) if hostname in text else _said(path, text)))
    elif kind is dict:
        for key, inner in value.items():
            text = str(key)
            if below := _below(path, text, hostname) if hostname in text else _below(path, text):
                _walk(below, inner, hostname, found)
    elif kind is list or kind is tuple:
        for inner in value:
            _member(path, inner, hostname, found)
    else:
        for name, below in _compared(path, kind):
            inner = getattr(value, name)
            if type(inner) is str and hostname not in inner:
                found.append((below, _said(below, inner)))
            else:
                _walk(below, inner, hostname, found)


def _member(path: str, value: Any, hostname: str, found: list[tuple[str, str]]) -> None:
    """Append the facts of one element: known by its text, else by its name, else by its value."""
    if not is_dataclass(value):
        found.append((f"{path}[{plain(str(value), hostname)}]", THERE))
        return
    if text := getattr(value, "text", ""):
        where = "/".join(str(getattr(value, key, "")) for key in ("backend", "family", "table", "chain")).strip("/")
        found.append((f"{path}[{plain(f'{where} {text}'.strip(), hostname)}]", THERE))
        return
    name = next((str(getattr(value, key)) for key in _NAMES if getattr(value, key, "")), "")
    if name:
        kind: Any = type(value)
        for one, below in _compared(f"{path}[{plain(name, hostname)}]", kind):
            if one not in _NAMES:
                _walk(below, getattr(value, one), hostname, found)
    else:
        found.append((f"{path}[{_by_value(value, hostname)}]", THERE))


_RECORDS: dict[tuple[Any, str], str] = {}
"""Records that only their values tell apart, as routes: most hosts have the same ones."""
_MOST_RECORDS = 1 << 14


def _by_value(value: Any, hostname: str) -> str:
    """Return the facts of a record without a name as one text."""
    kind: Any = type(value)
    compared = _compared("", kind)
    key = (kind, repr([getattr(value, name) for name, _ in compared]))
    known = _RECORDS.get(key)
    if known is not None and hostname not in key[1]:
        return known
    inner: list[tuple[str, str]] = []
    _walk("", value, hostname, inner)
    text = ", ".join(sorted(f"{path.removeprefix('.')} {said}" for path, said in inner))
    if hostname not in key[1]:
        if len(_RECORDS) >= _MOST_RECORDS:
            _RECORDS.clear()
        _RECORDS[key] = text
    return text
