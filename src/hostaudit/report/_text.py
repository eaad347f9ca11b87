"""Text that came from hosts or from an inventory, made fit for a report. Pure."""

from __future__ import annotations

from hostaudit.failures import is_unsafe

LONGEST = 4000
"""Characters of one text in a report for people; a host may send 10 kB where a name belongs."""
NAME = 80
"""Characters of a name in a heading or a cell."""


def clean(text: str, most: int = LONGEST) -> str:
    """Return the text without characters that change what stands around them; line ends stay, the end is cut off."""
    if len(text) > most:
        text = f"{text[:most]}… ({len(text) - most} more characters)"
    if text.isprintable():  # false for every character that is looked for below
        return text
    return "".join(
        "\n" if c == "\n" else " " if c in "\t\r" else "\N{REPLACEMENT CHARACTER}" if is_unsafe(c) else c for c in text
    )


def line(text: str, most: int = LONGEST) -> str:
    """Return the text cleaned, on one line."""
    return " ".join(clean(text, most).split())


def count(number: int, thing: str) -> str:
    """Return ``1 host`` or ``2 hosts``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
