"""A snapshot as it is stored: surfaces without what moves by itself, and those values apart. No I/O.

A host on which nothing changed has the same surfaces, byte for byte, in every run, so that they are stored once by
their hash; of the run itself remain the moving values, a few hundred bytes. In a surface ``null`` stands where a value
was taken out; a table of numbers (``totals``, ``stats``) leaves its keys behind, and its values go as a plain list, and
so do the differences of that table. Nothing is lost but surfaces that are of the moment (``volatile.OF_THE_MOMENT``).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.volatile import FIELDS, OF_THE_MOMENT
from hostaudit_agent.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEAD = "head"
"""The pseudo-surface of what stands beside the surfaces: agent, Python, schema, privileged."""
TABLES = ("totals", "stats")
LEVEL = 9
WORDS = (
    b'{"head":[0.0,0,1.0,2.0,100],"platform":[16777216,1000.0,"","",null,[]],"conntrack":[[],[0,0,0,0,0,0],null,'
    b'"found":"invalid":"ignore":"insert":"insert_failed":"drop":"early_drop":"error":"search_restart":"clash_resolve":'
    b'"chain_toolong":[{"cpu":0,"cpu":1,"entries":"ipv4":"ipv6":"protocols":{"tcp":"udp":"icmp":"tcp":{"SYN_SENT":'
    b'"SYN_RECV":"ESTABLISHED":"FIN_WAIT":"CLOSE_WAIT":"LAST_ACK":"TIME_WAIT":"CLOSE":"unreplied":"truncated":false,'
    b'"one_sided":[],"sampled":"sources":{},"targets":{}}],"firewall":[],"link":[1,2,3,4],"counters":[[0,0,0,0,0,0,0,0],'
    b"[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]]}"
)
"""What small documents begin with is what a compressor cannot know yet (zlib's preset dictionary). It belongs to the
format: another one needs another name."""


def split(snapshot: Snapshot) -> tuple[dict[str, bytes], bytes]:
    """Return surface -> its bytes, and the moving values of all of them, compressed."""
    document: dict[str, Any] = msgspec.to_builtins(snapshot)
    head = {name: document.pop(name) for name in list(document) if not isinstance(document[name], dict | list | None)}
    parts, moving = {}, {}
    for name, value in ((HEAD, head), *document.items()):
        if value is None or name in OF_THE_MOMENT:
            continue
        taken: list[Any] = []
        parts[name] = msgspec.json.encode(_without(value, taken))
        if taken:
            moving[name] = taken
    return parts, deflate(msgspec.json.encode(moving), WORDS)


def join(parts: Mapping[str, bytes], moving: bytes) -> Snapshot:
    """Return the snapshot that was split. Raises msgspec.ValidationError where another version cannot read it."""
    values: dict[str, Any] = values_of(moving)
    document: dict[str, Any] = {}
    for name, data in parts.items():
        whole = _with(msgspec.json.decode(data), iter(values.get(name, ())))
        document.update(whole if name == HEAD else {name: whole})
    return msgspec.convert(document, Snapshot)


def values_of(moving: bytes) -> dict[str, Any]:
    """Return surface -> its moving values, in the order in which they were met."""
    values: dict[str, Any] = msgspec.json.decode(inflate(moving, WORDS))
    return values


def deflate(data: bytes, words: bytes = b"") -> bytes:
    """Return raw deflate (RFC 1951): the database has its own checks."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, words)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, words: bytes = b"") -> bytes:
    """Return what ``deflate`` was given."""
    return zlib.decompressobj(-15, words).decompress(data)


def _without(value: Any, taken: list[Any]) -> Any:
    """Return the value without what moves, which is appended to ``taken`` in order."""
    if isinstance(value, list):
        return [_without(one, taken) for one in value] if value and isinstance(value[0], dict | list) else value
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    keys: list[str] | None = None
    for name, inner in value.items():
        if name not in FIELDS:
            kept[name] = _without(inner, taken) if isinstance(inner, dict | list) else inner
        elif name in TABLES and isinstance(inner, dict):
            kept[name] = keys = list(inner)
            taken.append(list(inner.values()))
        else:
            kept[name] = None
            taken.append(_aligned(inner, keys) if name == "delta" and keys and isinstance(inner, dict) else inner)
    return kept


def _aligned(delta: dict[str, Any], keys: list[str]) -> list[Any] | dict[str, Any]:
    """Return differences as a list beside the keys of their table, where nothing is lost by it."""
    if all(delta.values()) and delta.keys() <= set(keys):
        return [delta.get(key, 0) for key in keys]
    return delta


def _with(value: Any, taken: Iterator[Any]) -> Any:
    if isinstance(value, list):
        return [_with(one, taken) for one in value] if value and isinstance(value[0], dict | list) else value
    if not isinstance(value, dict):
        return value
    whole: dict[str, Any] = {}
    keys: list[str] = []
    for name, inner in value.items():
        if name not in FIELDS:
            whole[name] = _with(inner, taken) if isinstance(inner, dict | list) else inner
        elif name in TABLES and isinstance(inner, list):
            keys = inner
            whole[name] = dict(zip(keys, next(taken), strict=True))
        else:
            moved = next(taken)
            aligned = name == "delta" and keys and isinstance(moved, list)
            whole[name] = {k: v for k, v in zip(keys, moved, strict=True) if v} if aligned else moved
    return whole
