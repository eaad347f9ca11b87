"""Sets of small numbers as the kernel prints them (lib/vsprintf.c, bitmap_list_string): ports, processors."""

from __future__ import annotations


def ranges(text: str) -> list[tuple[int, int]]:
    """Parse ``8080,9148-9200`` into first and last ones. Raises ValueError."""
    parts = [part.partition("-") for part in text.strip().split(",") if part.strip()]
    return [(int(first), int(last or first)) for first, _, last in parts]


def count(text: str) -> int:
    """Return how many numbers ``0-3,6`` names. Raises ValueError."""
    return sum(last - first + 1 for first, last in ranges(text))
