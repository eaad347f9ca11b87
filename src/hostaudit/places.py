"""Where something stands in a TOML file, for messages: the decoder keeps no lines. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """A file's name and its text; without the text, places are the file alone."""

    file: str
    text: str = ""

    def at(self, table: str = "", key: str = "", number: int = 1) -> str:
        """Return ``FILE:LINE`` of a key in the ``number``-th table of that name, else of the table, else ``FILE``.

        Without ``table`` it is a key before the first table.
        """
        line = self._line(table, key, number)
        return f"{self.file}:{line}" if line else self.file

    def _line(self, table: str, key: str, number: int) -> int:
        head = re.compile(rf"\s*\[\[?\s*{_loose(table)}\s*\]\]?\s*(#.*)?") if table else None
        wanted = re.compile(rf'\s*"?{re.escape(key)}"?\s*=') if key else None
        inside, begun, seen = head is None, 0, 0
        for at, line in enumerate(self.text.splitlines(), 1):
            if line.lstrip().startswith("["):
                if inside and (begun or head is None):
                    break
                if head and head.fullmatch(line):
                    seen += 1
                    inside = seen == number
                    begun = at if inside else 0
            if inside and wanted and wanted.match(line):
                return at
        return begun


def _loose(table: str) -> str:
    """Return a pattern for a dotted name whose parts may be quoted."""
    return r"\s*\.\s*".join(rf'"?{re.escape(part)}"?' for part in table.split("."))
