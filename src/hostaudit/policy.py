"""The policy, from ``hostaudit.toml``: profile, thresholds (every one has a default in its check), waivers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit import waivers
from hostaudit.errors import PolicyError
from hostaudit.places import Places
from hostaudit.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.waivers import Waiver

Number = int | float
SECTIONS = ("profile", "checks", "waivers", "windows", "history", "drift")
"""The windows are read by ``hostaudit.windows``, the last two by ``hostaudit.drift.settings``."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operators decided: thresholds by check, and checks that are switched off with a reason."""

    thresholds: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)
    """Check -> the reason given for not running it."""
    profile: str = "default"
    waivers: tuple[Waiver, ...] = ()

    def threshold(self, check: str, name: str, default: Number) -> Number:
        """Return the value of ``[checks.<check>] <name>``, or the check's default."""
        return self.thresholds.get(check, {}).get(name, default)


def parse(
    document: Mapping[str, Any],
    known: Mapping[str, Mapping[str, Number]],
    file: str = "hostaudit.toml",
    text: str = "",
) -> Policy:
    """Turn a decoded TOML document into a Policy; ``text``, what it was decoded from, gives the messages their lines.

    ``known`` maps each check to its thresholds with their defaults. Raises PolicyError naming file and key for
    anything that is not known: a misspelt threshold must not silently be the default.
    """
    places = Places(file, text)
    for section in document:
        if section not in SECTIONS:
            names = "[checks.<check>], [[waivers]], [[windows]] and profile"
            raise PolicyError(f"{places.at(section)}: unknown section [{section}]; known are {names}")
    profile = document.get("profile", "default")
    if not isinstance(profile, str) or profile not in PROFILES:
        names = ", ".join(PROFILES)
        raise PolicyError(f"{places.at('', 'profile')}: profile {profile!r} is not known; there are {names}")
    chosen = PROFILES[profile]
    thresholds = {check: dict(values) for check, values in chosen.thresholds.items() if check in known}
    off = {check: why for check, why in chosen.off.items() if check in known}
    checks = document.get("checks", {})
    if not isinstance(checks, dict):
        raise PolicyError(f"{places.at()}: checks is a table of tables, as in [checks.conntrack-table-full]")
    for check, settings in checks.items():
        _check(check, settings, known, places, thresholds=thresholds, off=off)
    return Policy(thresholds, off, profile, waivers.parse(document.get("waivers", []), known, places))


def _check(
    check: str,
    settings: Any,
    known: Mapping[str, Mapping[str, Number]],
    places: Places,
    *,
    thresholds: dict[str, dict[str, Number]],
    off: dict[str, str],
) -> None:
    """Put one ``[checks.<check>]`` into ``thresholds`` and ``off``."""

    def wrong(what: str, key: str = "") -> PolicyError:
        return PolicyError(f"{places.at(f'checks.{check}', key)}: [checks.{check}]: {what}")

    if check not in known:
        raise wrong("no such check; `hostaudit explain` lists them")
    if not isinstance(settings, dict):
        raise wrong("expected a table of thresholds")
    for name, value in settings.items():
        if name == "off":
            if value is False:
                off.pop(check, None)
            elif isinstance(value, str) and value.strip():
                off[check] = value
            else:
                raise wrong("off takes the reason as text, so that others can read it; false: it is run", name)
        elif name not in known[check]:
            raise wrong(f"no threshold {name!r}; it has: {', '.join(sorted(known[check])) or 'none'}", name)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise wrong(f"{name} is a number >= 0, not {value!r}", name)
        else:
            thresholds.setdefault(check, {})[name] = value
