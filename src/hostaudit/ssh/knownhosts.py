"""known_hosts files, read once for a whole run and looked up by name.

The format is that of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: names separated by commas, with ``*``, ``?`` and ``!``;
``[name]:port`` for other ports than 22; names hashed with HMAC-SHA1; the markers ``@revoked`` and ``@cert-authority``.
Nothing is ever written. A scan per connection costs more with every host of the fleet, so plain names are a dictionary;
only hashed names and patterns are scanned.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(Enum):
    """What the files say about a key that a host showed."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    """No key of this host, or only ones of other types."""
    CHANGED = "changed"
    """A key of the same type is known, and it is another one."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of one line."""

    names: tuple[str, ...]
    type: str
    blob: bytes
    place: str
    """FILE:LINE"""
    marker: str = ""
    """``@revoked``, ``@cert-authority``, or empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict, and the entries that it rests on."""

    verdict: Verdict
    entries: tuple[Entry, ...] = ()
    """CHANGED, REVOKED: the lines to look at. UNKNOWN: lines with keys of other types, or authorities."""


class KnownHosts:
    """The entries of several files; a file that does not exist has none."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self.skipped: list[str] = []
        """FILE:LINE: why, of lines that could not be understood, and files that could not be read."""
        self._named: dict[str, list[Entry]] = {}
        self._patterns: list[Entry] = []
        self._hashed: list[tuple[bytes, bytes, Entry]] = []
        self._revoked: list[Entry] = []
        for file in files:
            self._read(file)

    def _read(self, file: str) -> None:
        try:
            text = Path(file).read_bytes().decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as problem:
            self.skipped.append(f"{file}: {problem.strerror}")
            return
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            marker = words.pop(0) if words[0].startswith("@") else ""
            try:
                names, type_, blob = words[0], words[1], base64.b64decode(words[2], validate=True)
            except (IndexError, binascii.Error):
                self.skipped.append(f"{file}:{number}: not a host name, a key type and a key")
                continue
            self._add(Entry(tuple(names.split(",")), type_, blob, f"{file}:{number}", marker))

    def _add(self, entry: Entry) -> None:
        if entry.marker not in {"", "@revoked", "@cert-authority"}:
            self.skipped.append(f"{entry.place}: marker {entry.marker} is not known")
            return
        if entry.marker == "@revoked":
            self._revoked.append(entry)
        for name in entry.names:
            if name.startswith("|1|"):
                try:
                    salt, digest = (base64.b64decode(part, validate=True) for part in name[3:].split("|"))
                except (ValueError, binascii.Error):
                    self.skipped.append(f"{entry.place}: a hashed name that is not |1|salt|hash")
                    continue
                self._hashed.append((salt, digest, entry))
            elif any(c in name for c in "*?!"):
                self._patterns.append(entry)
                break
            else:
                self._named.setdefault(name.lower(), []).append(entry)

    def lookup(self, name: str) -> list[Entry]:
        """Return the entries for one name as it stands in the files: ``host``, or ``[host]:port``."""
        name = name.lower()
        found = [e for e in self._named.get(name, ()) if not _patterned(e)]
        found += [e for e in self._patterns if _matches(name, e.names)]
        if self._hashed:
            key = name.encode()
            found += [e for salt, digest, e in self._hashed if hmac.digest(salt, key, "sha1") == digest]
        return list(dict.fromkeys(found))

    def types(self, host: str, port: int) -> list[str]:
        """Return the key types known for a host, to be asked for first: else a known host may show another key."""
        return list(dict.fromkeys(e.type for e in self._of(host, port) if not e.marker))

    def check(self, host: str, port: int, type_: str, blob: bytes) -> Answer:
        """Say whether this key is the one that the files know for ``host``."""
        entries = self._of(host, port)
        revoked = tuple(e for e in self._revoked if e.blob == blob and e in entries)
        if revoked:
            return Answer(Verdict.REVOKED, revoked)
        exact = [e for e in self.lookup(file_name(host, port)) if not e.marker]
        if any(e.blob == blob for e in exact):
            return Answer(Verdict.KNOWN)
        changed = tuple(e for e in exact if e.type == type_)
        if changed:
            return Answer(Verdict.CHANGED, changed)
        if any(e.blob == blob and not e.marker for e in entries):
            return Answer(Verdict.KNOWN)
        return Answer(Verdict.UNKNOWN, tuple(e for e in entries if e.marker != "@revoked"))

    def _of(self, host: str, port: int) -> list[Entry]:
        """Return the entries of ``[host]:port`` and, as ssh does for other ports than 22, of the bare name."""
        found = self.lookup(file_name(host, port))
        return found if port == 22 else found + [e for e in self.lookup(host) if e not in found]


def file_name(host: str, port: int) -> str:
    """Return the name under which known_hosts files hold a host."""
    return host if port == 22 else f"[{host}]:{port}"


def fingerprint(blob: bytes) -> str:
    """Return ``SHA256:...`` as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _patterned(entry: Entry) -> bool:
    return any(c in name for name in entry.names for c in "*?!" if not name.startswith("|1|"))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Apply a list of patterns: a ``!pattern`` that matches rules the whole line out."""
    matched = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        # ssh knows * and ? only: brackets stand for themselves, as in [host]:port.
        literal = pattern.removeprefix("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name, literal):
            if negated:
                return False
            matched = True
    return matched
