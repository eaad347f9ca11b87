"""A stored surface as flat facts, path -> value, that should be the same tomorrow. Pure.

Works on what ``history.pack`` made of a surface: plain JSON, without what moves by itself. Paths are those of
``checks._alike``::

    sysctl.knobs.net.core.somaxconn.running                         4096
    sysctl.knobs.net.core.somaxconn.configured                      4096 (/etc/sysctl.d/90-web.conf)
    link.links[eth0].mtu                                            1500
    firewall.invalid[iptables-legacy/ip/filter/FORWARD -A ...]      there
    route.routes[10.0.0.0/8 via 192.0.2.1 dev eth0]                 there

A rule is known by its text, an interface by its name; positions and counters are no facts. An address or a rule is not
taken out of texts as between hosts: this is one host beside itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hostaudit.checks._alike import COMPARED, THERE
from hostaudit.volatile import FIELDS, PRESENCE, counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ABSENT = "absent"
_NAMES = ("name", "file", "vmid")
_CHAIN = ("backend", "family", "table", "chain")
_SET_BY_PEOPLE = ("boot", "static", "dhcp")
"""Protocols of routes that are somebody's decision; the kernel makes its own from addresses, daemons theirs."""


def facts(surface: str, value: Any) -> dict[str, str]:
    """Return the facts of one surface; none for surfaces that are not compared."""
    if surface not in COMPARED or not isinstance(value, dict):
        return {}
    found: dict[str, str] = {}
    if surface == "sysctl":
        for key, knob in value.get("knobs", {}).items():
            path = f"sysctl.knobs.{key}"
            if counts(f"{path}.running"):
                found.update(_knob(path, knob))
        value = {name: inner for name, inner in value.items() if name != "knobs"}
        _without_derived(found)
    for path, text in _walk(surface, value):
        if counts(path):
            found[path] = THERE if PRESENCE.fullmatch(path) else text
    return found


def unread(entries: Any) -> dict[str, str]:
    """Return what was not read of the first namespace: prefix of paths -> reason."""
    found = {}
    for one in entries if isinstance(entries, list) else ():
        surface, _, part = str(one["surface"]).partition(".")
        if surface in COMPARED and not one.get("netns"):
            whole = not part or "/" in part or part in ("configured", "delta")
            prefix = (
                f"{surface}." if whole else f"{surface}.knobs.{part}." if surface == "sysctl" else f"{surface}.{part}"
            )
            if part != "delta":
                found[prefix] = str(one["reason"])
    return found


def key_of(path: str) -> str:
    """Return the sysctl that a fact is about; empty where it is about something else."""
    if not path.startswith("sysctl.knobs."):
        return ""
    return path.removeprefix("sysctl.knobs.").removesuffix(".running").removesuffix(".configured")


def name_of(path: str) -> str:
    """Return what a fact is called in a line for people."""
    if key := key_of(path):
        return f"{key} as configured" if path.endswith(".configured") else key
    return path


def _knob(path: str, knob: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if knob.get("running") is not None:
        yield f"{path}.running", str(knob["running"])
    if configured := knob.get("configured"):
        yield f"{path}.configured", f"{configured['value']} ({configured['file']})"


def _without_derived(found: dict[str, str]) -> None:
    """Leave out switches of interfaces that follow ip_forward: the kernel sets all of them with it."""
    forward = found.get("sysctl.knobs.net.ipv4.ip_forward.running")
    for path in [p for p in found if p.startswith("sysctl.knobs.net.ipv4.conf.") and p.endswith(".forwarding.running")]:
        if found[path] == forward:
            del found[path]


def _walk(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or value == "":
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in FIELDS:
                yield from _walk(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _member(path, inner)
    else:
        yield path, str(value)


def _member(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield f"{path}[{value}]", THERE
        return
    if path == "route.routes":
        if value.get("protocol") in _SET_BY_PEOPLE:
            yield f"{path}[{_route(value)}]", THERE
        return
    if text := value.get("text"):
        chain = "/".join(str(value.get(key, "")) for key in _CHAIN).strip("/")
        yield f"{path}[{chain} {text}]", THERE
        return
    name = next((str(value[key]) for key in _NAMES if value.get(key)), "")
    if name:
        for key, inner in value.items():
            if key not in _NAMES and key not in FIELDS:
                yield from _walk(f"{path}[{name}].{key}", inner)
        yield f"{path}[{name}]", THERE
    else:
        plain = {k: v for k, v in value.items() if k not in FIELDS and v not in (None, "", [], 0, False)}
        yield f"{path}[{json.dumps(plain, sort_keys=True)}]", THERE


def _route(route: Mapping[str, Any]) -> str:
    words = [str(route.get("destination") or "default")]
    if route.get("kind") not in (None, "", "unicast"):
        words.insert(0, str(route["kind"]))
    for word, key in (("via", "via"), ("dev", "device"), ("src", "source"), ("mtu", "mtu")):
        if route.get(key):
            words += [word, str(route[key])]
    if route.get("table") not in (None, 0, 254):
        words += ["table", str(route["table"])]
    return " ".join(words)
