"""The few fields of an X.509 certificate that a person asks for, read from its DER form (RFC 5280, X.690)."""

from __future__ import annotations

import calendar
import time
from typing import Iterator

from hostaudit_agent.records import dataclass, field

COMMON_NAME, ORGANIZATION, SUBJECT_ALT_NAME = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
AUTHORITY_ACCESS = b"\x2b\x06\x01\x05\x05\x07\x01\x01"
CA_ISSUERS = b"\x2b\x06\x01\x05\x05\x07\x30\x02"
"""Object identifiers 2.5.4.3, 2.5.4.10, 2.5.29.17, 1.3.6.1.5.5.7.1.1 and 1.3.6.1.5.5.7.48.2, as they are encoded."""
SEQUENCE, UTC_TIME, OID = 0x30, 0x17, 0x06


@dataclass
class Certificate:
    """One certificate."""

    subject: str = ""
    """The common name, else the organization; empty where there is neither."""
    issuer: str = ""
    not_after: int = 0
    """Seconds since 1970."""
    names: list[str] = field(default_factory=list)
    """DNS names and addresses of the subject alternative names."""
    says_issuer: bool = False
    """It says where its issuer's certificate can be had (authority information access): there is an intermediate."""
    self_issued: bool = False


def parse(data: bytes) -> Certificate:
    """Read a certificate. Raises ValueError for what is none."""
    try:
        (_, whole), *_ = _items(data)
        (_, body), *_ = _items(whole)
        parts = list(_items(body))
        if parts[0][0] == 0xA0:  # the version
            parts = parts[1:]
        issuer, validity, subject = parts[2][1], parts[3][1], parts[4][1]
        until = list(_items(validity))[1]
        found = Certificate(_name(subject), _name(issuer), _time(*until), self_issued=subject == issuer)
        for tag, content in parts[6:]:
            if tag == 0xA3:
                _extensions(next(_items(content))[1], found)
    except (IndexError, StopIteration, ValueError) as problem:
        raise ValueError(f"not a certificate: {problem}") from None
    return found


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of what stands beside each other."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("it is cut off")
        yield tag, data[at : at + length]
        at += length


def _name(data: bytes) -> str:
    found: dict[bytes, str] = {}
    for _, group in _items(data):
        for _, pair in _items(group):
            (_, kind), (tag, value) = list(_items(pair))[:2]
            found[kind] = value.decode("utf-16-be" if tag == 0x1E else "utf-8", "replace")
    return found.get(COMMON_NAME, "") or found.get(ORGANIZATION, "")


def _time(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == UTC_TIME:  # two digits of the year; 50 and more are of the last century (RFC 5280, 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return calendar.timegm(time.strptime(text[:14], "%Y%m%d%H%M%S"))


def _extensions(data: bytes, found: Certificate) -> None:
    for _, extension in _items(data):
        parts = list(_items(extension))
        kind, content = parts[0][1], parts[-1][1]
        if kind == SUBJECT_ALT_NAME:
            for tag, value in _items(next(_items(content))[1]):
                if tag == 0x82:
                    found.names.append(value.decode("ascii", "replace"))
                elif tag == 0x87 and len(value) in (4, 16):
                    found.names.append(_address(value))
        elif kind == AUTHORITY_ACCESS:
            ways = [next(_items(way))[1] for _, way in _items(next(_items(content))[1])]
            found.says_issuer = CA_ISSUERS in ways


def _address(packed: bytes) -> str:
    import ipaddress  # noqa: PLC0415 - rare

    return str(ipaddress.ip_address(packed))
