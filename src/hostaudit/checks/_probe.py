"""What the checks have in common that judge probes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.model import Finding, Grade, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.checks import Fleet
    from hostaudit.probed import Probes, Series


def seen(fleet: Fleet) -> Probes:
    """Return what probes saw; a check that reads them is not called without."""
    assert fleet.probes is not None  # noqa: S101 - reads
    return fleet.probes


def services(fleet: Fleet) -> list[Series]:
    """Return the handshakes with services; those with management ports are judged by themselves."""
    return [one for one in seen(fleet).tcp if not one.host]


def places(vantages: Iterable[str]) -> tuple[str, ...]:
    """Return vantage points in order, each once."""
    return tuple(dict.fromkeys(vantages))


def fine(summary: str, vantages: Iterable[str], **evidence: Any) -> Finding:
    """Return a pass of all that was probed, said of the vantage points."""
    return Finding(Status.PASS, summary, evidence=evidence, hosts=places(vantages))


def not_known(reason: str, vantages: Iterable[str]) -> Finding:
    """Return unknown: it was to be probed, and could not be."""
    return Finding(Status.UNKNOWN, reason, hosts=places(vantages))


def failed(
    fleet: Fleet,
    vantages: Iterable[str],
    summary: str,
    *,
    evidence: dict[str, Any],
    reproduce: str,
    disproof: str,
    advice: str,
    cause: str,
    severity: Severity | None = None,
    grade: Grade = Grade.ACTIVE,
) -> Finding:
    """Return a failure that the vantage points saw."""
    return Finding(
        Status.FAIL,
        summary,
        grade=grade,
        severity=severity or fleet.check.severity,
        evidence=evidence,
        reproduce=reproduce,
        disproof=disproof,
        advice=advice,
        cause=cause,
        hosts=places(vantages),
    )


def short(text: str, most: int = 30) -> str:
    """Return a name that fits into a summary."""
    return text if len(text) <= most else text[: most - 3] + "..."
