"""Why one host could not be audited: raised inside the edge towards that host, returned from it as a value."""

from __future__ import annotations

import re
import unicodedata

EXCERPT = 300
"""Characters of a host's own words that a reason may quote."""

_KEPT_CONTROLS = {"\t": " ", "\n": " ", "\r": " "}


class HostError(Exception):
    """One host's failure. ``kind`` is one of ``model.Unreachable.kind``; the message is a sentence for people."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def is_unsafe(character: str) -> bool:
    """Tell whether a character could change what a terminal or a browser shows around it.

    Categories Cc (C0, DEL, C1), Cf (bidirectional overrides, zero width), Cs (lone surrogates), Zl and Zp.
    """
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def excerpt(data: bytes | str, limit: int = EXCERPT) -> str:
    """Return a host's own words on one line, fit to print: no control characters, the end kept where it is long.

    Binary data shrinks: of neighbouring replacement characters one is left.
    """
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = text[-4 * limit :]
    text = "".join(_KEPT_CONTROLS.get(c, "\N{REPLACEMENT CHARACTER}" if is_unsafe(c) else c) for c in text)
    text = re.sub("\N{REPLACEMENT CHARACTER}[^ ]{0,3}(?=\N{REPLACEMENT CHARACTER})", "", " ".join(text.split()))
    return text if len(text) <= limit else "..." + text[-limit:]
