"""The border: what a host sent becomes a Snapshot, or is refused. Nothing behind it sees unchecked data."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from hostaudit.failures import HostError, excerpt, is_unsafe
from hostaudit_agent.snapshot import SCHEMA, Snapshot

if TYPE_CHECKING:
    from hostaudit_agent.snapshot import Knob, Namespace

T = TypeVar("T")
_ODD = re.compile(rb'\\[^"\\/]|\x7f')
"""What every string that is not printable is written with in ASCII JSON: an escape (or DEL, which needs none)."""
_LAYOUT = {"\t": " ", "\n": " ", "\r": " "}


@dataclass
class _Header:
    schema: str = ""


# Made here, once, and not in the threads that decode: msgspec (0.22) keeps what it learns about a class on the class
# while it learns it, and a second thread that meets the half of it crashes the process.
_HEADER = msgspec.json.Decoder(_Header)
_SNAPSHOT = msgspec.json.Decoder(Snapshot, strict=True)


def snapshot(body: bytes, where: str) -> Snapshot:
    """Decode an agent's answer strictly, and replace control characters in every string of it.

    The types bound the depth and what may stand where; the size was bounded before. Raises HostError of kind
    ``output`` that names the path of what is wrong.
    """
    try:
        header = _HEADER.decode(body)
        if header.schema != SCHEMA:
            raise HostError(
                "output",
                f"the agent on {where} speaks {excerpt(header.schema, 60) or 'no schema'!r}, this program {SCHEMA!r}; "
                f"use the agent that belongs to this version",
            )
        decoded = _SNAPSHOT.decode(body)
    except msgspec.ValidationError as problem:
        raise HostError(
            "output", f"the agent's answer from {where} is not as agreed: {excerpt(str(problem))}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        said = excerpt(body[:200])
        raise HostError(
            "output", f"the agent's answer from {where} is not JSON ({excerpt(str(problem), 100)}): {said!r}"
        ) from None
    except RecursionError:
        raise HostError("output", f"the agent's answer from {where} is nested too deeply to be a snapshot") from None
    return _shared(_cleaned(decoded, body))


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, where: str) -> T:
    """Decode another answer of the agent than a snapshot, and clean its strings. Raises HostError of kind ``output``.

    The decoder is made once, at import, for the reason that is given above.
    """
    try:
        return _cleaned(decoder.decode(body), body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise HostError(
            "output", f"the agent's answer from {where} is not as agreed: {excerpt(str(problem))}"
        ) from None


def text(value: str) -> str:
    """Return a string that can do nothing to a terminal: controls, bidirectional marks and the like replaced."""
    if value.isprintable():  # false for every character of these categories
        return value
    return "".join(_LAYOUT.get(c, "\N{REPLACEMENT CHARACTER}" if is_unsafe(c) else c) for c in value)


_NAMES: dict[str, str] = {}
_KNOBS: dict[object, Knob] = {}
_MOST_SHARED = 1 << 16
"""Names and settings that are kept once; what else hosts come up with costs what it costs."""


def _shared(decoded: Snapshot) -> Snapshot:
    """Let hosts share what is the same on most of them: two thirds of a snapshot's memory are knobs and names.

    Nothing behind the border changes a snapshot. One call of ``setdefault`` is atomic, so threads may share, too.
    """
    spaces: list[Snapshot | Namespace] = [decoded, *decoded.namespaces]
    for one in spaces:
        if one.sysctl is not None:
            one.sysctl.knobs = {_name(key): _knob(knob) for key, knob in one.sysctl.knobs.items()}
        if one.counters is not None:
            one.counters.totals = {_name(key): number for key, number in one.counters.totals.items()}
            if one.counters.delta is not None:
                one.counters.delta = {_name(key): number for key, number in one.counters.delta.items()}
    return decoded


def _name(text: str) -> str:
    return _NAMES.setdefault(text, text) if len(_NAMES) < _MOST_SHARED else _NAMES.get(text, text)


def _knob(knob: Knob) -> Knob:
    """Return the knob that says the same in every field."""
    lines = [knob.configured, *knob.overridden] if knob.configured or knob.overridden else ()
    files = tuple((one.value, one.file, one.line) if one else None for one in lines)
    key = (knob.running, knob.writable, files)
    return _KNOBS.setdefault(key, knob) if len(_KNOBS) < _MOST_SHARED else _KNOBS.get(key, knob)


def _cleaned(decoded: T, body: bytes) -> T:
    """Clean what was decoded, unless the text itself shows that no string in it can need it, as nearly always."""
    return cast("T", _clean(decoded)) if not body.isascii() or _ODD.search(body) else decoded


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if dataclasses.is_dataclass(value):
        for name in _fields(value.__class__):
            setattr(value, name, _clean(getattr(value, name)))
    return value


@cache
def _fields(type_: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(type_))
