"""A series as one line of block characters, for terminals. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
MISSING = " "


def spark(values: Sequence[float | None], width: int, top: float | None = None) -> str:
    """Return the values, oldest first, as at most ``width`` characters from 0 to ``top`` (default: the largest).

    Where there are more values than columns, a column shows the largest of its share: a burst must not vanish.
    """
    columns = shrunk(values, width)
    known = [v for v in columns if v is not None]
    highest = max([*known, top or 0.0], default=0.0)
    if highest <= 0:
        return "".join(MISSING if v is None else BLOCKS[0] for v in columns)
    scale = len(BLOCKS) - 1
    return "".join(MISSING if v is None else BLOCKS[round(max(v, 0.0) / highest * scale)] for v in columns)


def shrunk(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return at most ``width`` values, each the largest of its share."""
    if len(values) <= width:
        return list(values)
    edges = [len(values) * n // width for n in range(width + 1)]
    shares = ([v for v in values[a:b] if v is not None] for a, b in pairwise(edges))
    return [max(share, default=None) for share in shares]


def number(value: float) -> str:
    """Return a value as a person writes it: ``0``, ``0.4``, ``31``, ``12,400``."""
    if value == 0 or abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"
