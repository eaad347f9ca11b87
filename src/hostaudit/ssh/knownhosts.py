"""known_hosts files, read once for a whole run and looked up by name.

The format is that of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: names separated by commas, with ``*``, ``?`` and ``!``;
``[name]:port`` for other ports than 22; names hashed with HMAC-SHA1; the markers ``@revoked`` and ``@cert-authority``.
Nothing is ever written. A scan per connection costs more with every host of the fleet, so plain names are a dictionary.
A hashed name can only be tried. It is tried where the line's key is the one that the host shows, which is one line of
ten thousand; and once it has matched, it is a plain name. Only a key that is not known costs a search of them all.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import threading
from collections import Counter, deque
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


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One key of one line; equal to itself only, as lines are."""

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
        self._hashed: dict[bytes, deque[_Hashed]] = {}
        """Key -> hashed names that are known by it, and have not been told apart yet; in the order of the files."""
        self._hashed_types: Counter[str] = Counter()
        self._lock = threading.Lock()
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
        if any(c in name for name in entry.names for c in "*?!" if not name.startswith("|1|")):
            self._patterns.append(entry)
            return
        for name in entry.names:
            if not name.startswith("|1|"):
                self._named.setdefault(name.lower(), []).append(entry)
                continue
            try:
                salt, digest = (base64.b64decode(part, validate=True) for part in name[3:].split("|"))
            except (ValueError, binascii.Error):
                self.skipped.append(f"{entry.place}: a hashed name that is not |1|salt|hash")
                continue
            self._hashed.setdefault(entry.blob, deque()).append((salt, digest, entry))
            if not entry.marker:
                self._hashed_types[entry.type] += 1

    def lookup(self, name: str) -> list[Entry]:
        """Return the entries for one name as it stands in the files: ``host``, or ``[host]:port``. Tries every hash."""
        name = name.lower()
        for blob in list(self._hashed):
            self._unhash(name, blob, every=True)
        return self._plain(name)

    def types(self, host: str, port: int, *, thorough: bool = False) -> list[str]:
        """Return the key types known for a host, to be asked for first: else a known host may show another key.

        Hashed names that have not been told apart yet may be this host's: their types are told, the most frequent
        first, unless ``thorough``, which tries them all.
        """
        names = [file_name(host, port), host] if port != 22 else [host]
        if thorough:
            return list(dict.fromkeys(e.type for n in names for e in self.lookup(n) if not e.marker))
        found = dict.fromkeys(e.type for n in names for e in self._plain(n.lower()) if not e.marker)
        return list(found) or [type_ for type_, _ in self._hashed_types.most_common()]

    def check(self, host: str, port: int, type_: str, blob: bytes) -> Answer:
        """Say whether this key is the one that the files know for ``host``."""
        name = file_name(host, port)
        if not any(e.blob == blob for e in self._revoked) and self._knows(name.lower(), blob):
            return Answer(Verdict.KNOWN)
        entries = self._of(host, port)
        revoked = tuple(e for e in self._revoked if e.blob == blob and e in entries)
        if revoked:
            return Answer(Verdict.REVOKED, revoked)
        exact = [e for e in self.lookup(name) if not e.marker]
        if any(e.blob == blob for e in exact):
            return Answer(Verdict.KNOWN)
        changed = tuple(e for e in exact if e.type == type_)
        if changed:
            return Answer(Verdict.CHANGED, changed)
        if any(e.blob == blob and not e.marker for e in entries):
            return Answer(Verdict.KNOWN)
        return Answer(Verdict.UNKNOWN, tuple(e for e in entries if e.marker != "@revoked"))

    def _knows(self, name: str, blob: bytes) -> bool:
        """Tell whether the files have this key for this name, without a search."""
        if any(e.blob == blob and not e.marker for e in self._plain(name)):
            return True
        return self._unhash(name, blob, every=False)

    def _plain(self, name: str) -> list[Entry]:
        """Return the entries whose names can be read, and those whose hashes have matched before."""
        found = self._named.get(name, []) + [e for e in self._patterns if _matches(name, e.names)]
        return list(dict.fromkeys(found))

    def _unhash(self, name: str, blob: bytes, *, every: bool) -> bool:
        """Make hashed names of this key that are ``name`` plain: every one, or the first that is no authority's.

        Where machines share a key there are many. Runs go through the hosts in the order in which files grew, so the
        one that is looked for is near the front, from which those that were found are gone.
        """
        key, found = name.encode(), False
        with self._lock:
            waiting = self._hashed.get(blob, deque())
            for _ in range(len(waiting)):
                salt, digest, entry = waiting.popleft()
                if hmac.digest(salt, key, "sha1") != digest:
                    waiting.append((salt, digest, entry))
                    continue
                self._named.setdefault(name, []).append(entry)
                found = found or not entry.marker
                if found and not every:
                    break
        return found

    def _of(self, host: str, port: int) -> list[Entry]:
        """Return the entries of ``[host]:port`` and, as ssh does for other ports than 22, of the bare name."""
        found = self.lookup(file_name(host, port))
        return found if port == 22 else found + [e for e in self.lookup(host) if e not in found]


_Hashed = tuple[bytes, bytes, Entry]
"""Salt, HMAC-SHA1 of the name, and the line that it stands in."""


def file_name(host: str, port: int) -> str:
    """Return the name under which known_hosts files hold a host."""
    return host if port == 22 else f"[{host}]:{port}"


def fingerprint(blob: bytes) -> str:
    """Return ``SHA256:...`` as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


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
