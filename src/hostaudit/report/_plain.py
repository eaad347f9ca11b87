"""A finding as lines of plain text, for formats that have one field for everything that is known of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.report._evidence import evidence, shown
from hostaudit.report._text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.model import Finding
    from hostaudit.report import Style


def lines(finding: Finding, style: Style) -> Iterator[str]:
    """Yield evidence, owner, next step, remedy, how to see it and what would disprove it, each where it is there."""
    yield from (f"evidence: {clean(text)}" for text in evidence(finding.evidence, style))
    for label, text in parts(finding):
        yield f"{label}: {text}"


def parts(finding: Finding) -> list[tuple[str, str]]:
    """Return what a person needs next, labelled, in the order of the table."""
    remedy = finding.remedy
    values = ", ".join(f"{k}={shown(v)}" for k, v in remedy.vars.items()) if remedy else ""
    given = [
        ("owner", finding.owner),
        ("next", finding.advice),
        ("remedy", f"role {remedy.role}: {values}" if remedy else ""),
        ("see it", finding.reproduce),
        ("wrong if", finding.disproof),
    ]
    return [(label, clean(text)) for label, text in given if text]


def places(finding: Finding) -> list[str]:
    """Return the hosts of a finding, each with the namespace where it is not the first."""
    suffix = f" ({finding.netns})" if finding.netns else ""
    return [f"{host}{suffix}" for host in finding.hosts or (finding.host,)]
