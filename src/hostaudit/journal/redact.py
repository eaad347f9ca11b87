"""Secrets do not enter the journal: what looks like one is replaced, at the border, before it is hashed. No I/O.

The price is paid knowingly: a value that was hidden cannot be restored from the journal. Files are restored from the
host's own copy, settings of the kernel are not secrets (but for a few keys, which are listed here).
"""

from __future__ import annotations

import math
import re
from typing import Any

HIDDEN = "(hidden)"

_WORDS = (
    r"secrets?|tokens?|vault|credentials?|authorization|cookies?|psk"
    r"|(?:private|api|access|secret|encryption|host|fastopen)[-_ ]?keys?"
)
_NAME = re.compile(rf"pass(?:word|wd|phrase)|(?:^|[^a-z0-9])(?:{_WORDS})(?:$|[^a-z0-9])")
_PASS = re.compile(r"(?:^|[^a-z0-9])(?:pass|pwd|pw)$")  # ansible_become_pass; but a count of passed checks stays
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OPTION = re.compile(r"--?[A-Za-z][-\w]*")
_WHOLE = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL), ""),
    (re.compile(r"\$ANSIBLE_VAULT;[^\n]*(?:\n[ \t]*[0-9a-f]+)*"), ""),
    (re.compile(r"(?<=://)([^\s/:@]*:)[^\s/@]+(?=@)"), r"\1"),
)
# name=value, name: value, "name": "value", --name value; the quotes may be escaped themselves. Hosts wrote this text:
# a name begins only where a word does, and nothing is tried twice, so the time stays linear.
_ASSIGNED = re.compile(
    r"""(?<![\w.-])-*+([A-Za-z_][\w.-]*+)\\*+["']?[ \t]*+[:=][ \t]*+|(?<![\w.-])--([A-Za-z][\w-]*+)[ \t]++"""
)
_VALUE = re.compile(
    r""""(?:[^"\\\n]|\\.)*+"|\\++"[^"\n]*+"|'[^'\n]*+'|(?:bearer|basic|digest)[ \t]++[^\s"']++|[^\s,;}\]"']++""",
    re.IGNORECASE,
)


def is_secret(name: str, value: Any = "") -> bool:
    """Say whether something of this name is a secret: ``ansible_become_pass``, ``vaultToken``, ``private-key``."""
    plain = _CAMEL.sub("_", name).lower()
    return bool(_NAME.search(plain)) or (isinstance(value, str) and bool(_PASS.search(plain)))


def redact(value: Any) -> Any:
    """Return JSON data with every secret replaced: by its key, by its option (``--password X``), or by its text."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, dict):
        named = next((value[k] for k in ("name", "key") if isinstance(value.get(k), str)), "")
        return {
            redact_text(key): HIDDEN
            if (is_secret(key, item) and item not in (None, "")) or (key == "value" and is_secret(named))
            else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    return value


def redact_text(text: str) -> str:
    """Return text without private keys, vaults, passwords in URLs, and ``password: x`` in any of its spellings."""
    for pattern, kept in _WHOLE:
        text = pattern.sub(kept + HIDDEN, text)
    parts: list[str] = []
    done = 0
    for found in _ASSIGNED.finditer(text):
        if found.start() < done or not is_secret(found[1] or found[2]):
            continue
        value = _VALUE.match(text, found.end())
        if value and not (found[1] == "pass" and value[0].isdigit()):
            parts += text[done : found.end()], HIDDEN
            done = value.end()
    return "".join(parts) + text[done:]


def _list(items: list[Any]) -> list[Any]:
    result: list[Any] = []
    after = False
    for item in items:
        result.append(HIDDEN if after else redact(item))
        after = isinstance(item, str) and bool(_OPTION.fullmatch(item)) and is_secret(item, "")
    return result
