"""The thresholds, from ``hostaudit.toml``; every one has a default in its check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

Number = int | float


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operators decided: thresholds by check, and checks that are switched off with a reason."""

    thresholds: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)
    """Check -> the reason given for not running it."""

    def threshold(self, check: str, name: str, default: Number) -> Number:
        """Return the value of ``[checks.<check>] <name>``, or the check's default."""
        return self.thresholds.get(check, {}).get(name, default)


def parse(
    document: Mapping[str, Any], known: Mapping[str, Mapping[str, Number]], file: str = "hostaudit.toml"
) -> Policy:
    """Turn a decoded TOML document into a Policy.

    ``known`` maps each check to its thresholds with their defaults. Raises PolicyError naming file and key for
    anything that is not known: a misspelt threshold must not silently be the default.
    """
    thresholds: dict[str, dict[str, Number]] = {}
    off: dict[str, str] = {}
    for section in document:
        if section not in ("checks", "windows"):  # the windows are read by ``hostaudit.windows``
            raise PolicyError(f"{file}: unknown section [{section}]; known are [checks.<check>] and [[windows]]")
    checks = document.get("checks", {})
    if not isinstance(checks, dict):
        raise PolicyError(f"{file}: checks is a table of tables, as in [checks.conntrack-table-full]")
    for check, settings in checks.items():
        place = f"{file}: [checks.{check}]"
        if check not in known:
            raise PolicyError(f"{place}: no such check; `hostaudit explain` lists them")
        if not isinstance(settings, dict):
            raise PolicyError(f"{place}: expected a table of thresholds")
        for name, value in settings.items():
            if name == "off":
                if not isinstance(value, str) or not value.strip():
                    raise PolicyError(f"{place}: off takes the reason as text, so that others can read it")
                off[check] = value
            elif name not in known[check]:
                names = ", ".join(sorted(known[check])) or "none"
                raise PolicyError(f"{place}: no threshold {name!r}; it has: {names}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise PolicyError(f"{place}: {name} is a number >= 0, not {value!r}")
            else:
                thresholds.setdefault(check, {})[name] = value
    return Policy(thresholds, off)
