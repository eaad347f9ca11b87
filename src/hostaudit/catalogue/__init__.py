"""The catalogue of failures: every way in which packets are known to die here, whether a check sees it or not. Pure.

The ``.toml`` files beside this one hold the rows in order. ``[rows.<id>]`` of a check needs nothing more; ``lab`` names
the files of tests/lab that make the fault for real and see it named. A row without a check is *explained*: ``title``
says the failure in a sentence, ``why`` why hostaudit does not tell, ``see`` what to run, ``ends`` what ends it. Where a
check of that id exists, its own page takes the place of this text.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hostaudit.checks import all_checks

if TYPE_CHECKING:
    from collections.abc import Mapping

FURTHER = "Further checks"
"""The section of checks that no table names: a new check needs no row."""
LAB, DATA, EXPLAINED = "check, lab test", "check, data cases", "explained"


@dataclass(frozen=True, slots=True)
class Row:
    """One failure."""

    id: str
    section: str
    title: str
    checked: bool
    """A check of this id exists."""
    lab: tuple[str, ...] = ()
    """Files of tests/lab."""
    why: str = ""
    see: str = ""
    ends: str = ""

    @property
    def status(self) -> str:
        """What there is for it: ``LAB``, ``DATA`` or ``EXPLAINED``."""
        return EXPLAINED if not self.checked else LAB if self.lab else DATA

    @property
    def sections(self) -> dict[str, str]:
        """Heading -> text of the page of an explained row."""
        return {"Why hostaudit does not tell": self.why, "What to run": self.see, "What ends it": self.ends}


@cache
def rows() -> Mapping[str, Row]:
    """Return all rows by id, in the catalogue's order."""
    tables = sorted(
        (file for file in files(__name__).iterdir() if file.name.endswith(".toml")),
        key=lambda file: int(file.name.partition("-")[0]),
    )
    found: dict[str, Row] = {}
    for table in tables:
        document = tomllib.loads(table.read_text(encoding="utf-8"))
        for name, given in document["rows"].items():
            if name in found:
                raise ValueError(f"{table.name}: {name} is there twice")
            found[name] = _row(name, document["title"], given)
    for name in all_checks():
        found.setdefault(name, _row(name, FURTHER, {}))
    return found


def explained() -> Mapping[str, Row]:
    """Return the rows that no check sees, by id."""
    return {name: row for name, row in rows().items() if not row.checked}


def _row(name: str, section: str, given: Mapping[str, Any]) -> Row:
    check = all_checks().get(name)
    title = check.title if check else str(given.get("title", ""))
    texts = {key: str(given.get(key, "")).strip() for key in ("why", "see", "ends")}
    return Row(name, section, title, check is not None, tuple(given.get("lab", ())), **texts)
