"""``[history]`` and ``[drift]`` of the policy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEEP_DAYS = 400
"""Source: own choice: a year, and a month to compare with the same one of last year."""
_KEYS = {"history": ("keep_days",), "drift": ("ignore",)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the policy says about the history and drift."""

    keep_days: float = KEEP_DAYS
    ignore: tuple[str, ...] = ()
    """Globs of paths, or of names of sysctls, whose changes do not count."""


def parse(document: Mapping[str, Any], file: str) -> Settings:
    """Read the two sections. Raises PolicyError naming file and key."""
    for section, keys in _KEYS.items():
        table = document.get(section, {})
        if not isinstance(table, dict):
            raise PolicyError(f"{file}: [{section}] is a table")
        unknown = [key for key in table if key not in keys]
        if unknown:
            raise PolicyError(f"{file}: [{section}]: no key {unknown[0]!r}; it has: {', '.join(keys)}")
    keep = document.get("history", {}).get("keep_days", KEEP_DAYS)
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 1 <= keep < float("inf"):
        raise PolicyError(f"{file}: [history]: keep_days is a number of days from 1 on, not {keep!r}")
    ignore = document.get("drift", {}).get("ignore", [])
    if not isinstance(ignore, list) or not all(isinstance(one, str) and one for one in ignore):
        raise PolicyError(f"{file}: [drift]: ignore is a list of globs, as in ['net.ipv4.conf.wg*']")
    return Settings(keep, tuple(ignore))
