"""A standing probe: what each round adds to a file of history, and to Prometheus's textfile collector."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hostaudit.errors import UsageError
from hostaudit.probe import say
from hostaudit.probed import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hostaudit.probed import Probes

HELP = {
    "hostaudit_probe_success_ratio": "Share of the connections of the last round that worked.",
    "hostaudit_probe_connections": "Connections of the last round.",
    "hostaudit_probe_connect_seconds": "Time to the SYN-ACK in the last round.",
    "hostaudit_probe_ok": "1 where everything about this target was in order in the last round.",
    "hostaudit_probe_certificate_expiry_timestamp_seconds": "When the certificate ends.",
    "hostaudit_probe_path_mtu_bytes": "The largest packet that was answered.",
    "hostaudit_probe_vantage_up": "1 where the vantage point could be reached.",
    "hostaudit_probe_last_run_timestamp_seconds": "When the last round ended.",
}


def append(path: Path, document: dict[str, Any]) -> None:
    """Add one round to the history: a line of JSON, without its single connections. Raises UsageError."""
    short = {**document, "tcp": [{k: v for k, v in one.items() if k != "connections"} for one in document["tcp"]]}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(short, separators=(",", ":")) + "\n")
    except OSError as problem:
        raise UsageError(f"--history {path}: cannot be written: {problem.strerror}") from problem


def write_textfile(path: Path, probes: Probes, now: float) -> None:
    """Replace the textfile in one rename, so that the collector never reads half of it. Raises UsageError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(textfile(probes, now), encoding="utf-8")
        part.chmod(0o644)
        part.replace(path)
    except OSError as problem:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"--textfile {path}: cannot be written: {problem.strerror}") from problem


def textfile(probes: Probes, now: float) -> str:
    """Return the metrics in Prometheus's text format. ``now`` is in seconds since 1970."""
    lines: list[str] = []
    samples = [*_samples(probes), ("hostaudit_probe_last_run_timestamp_seconds", {}, now)]
    for name, text in HELP.items():
        mine = [(labels, value) for metric, labels, value in samples if metric == name]
        if mine:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in mine]
    return "\n".join(lines) + "\n"


def _samples(probes: Probes) -> Iterator[tuple[str, dict[str, str], float]]:
    for vantage in probes.vantages:
        yield "hostaudit_probe_vantage_up", {"vantage": vantage.name}, float(vantage.status == "ok")
    probes = probes.reached()
    for series in probes.tcp:
        labels = {"kind": "tcp", "vantage": series.vantage, "target": series.target, "address": series.address}
        yield "hostaudit_probe_connections", labels, float(series.judged)
        if series.judged:
            yield "hostaudit_probe_success_ratio", labels, series.ok / series.judged
            yield "hostaudit_probe_ok", labels, float(series.verdict is Verdict.OK)
        for name, value in series.percentiles.items():
            quantile = {"p50": "0.5", "p95": "0.95", "p99": "0.99", "max": "1"}[name]
            yield "hostaudit_probe_connect_seconds", {**labels, "quantile": quantile}, value / 1000
    for arp in probes.arp:
        if (fine := say.arp(arp)[0]) is not None:
            yield "hostaudit_probe_ok", {"kind": "arp", "vantage": arp.vantage, "target": arp.address}, float(fine)
    for mtu in probes.mtu:
        labels = {"kind": "mtu", "vantage": mtu.vantage, "target": mtu.address}
        if (fine := say.mtu(mtu)[0]) is not None:
            yield "hostaudit_probe_ok", labels, float(fine)
        if mtu.mtu is not None:
            yield "hostaudit_probe_path_mtu_bytes", labels, float(mtu.mtu)
    for tls in probes.tls:
        labels = {"kind": "tls", "vantage": tls.vantage, "target": tls.target, "address": tls.address}
        if (fine := say.tls(tls)[0]) is not None:
            yield "hostaudit_probe_ok", labels, float(fine)
        if tls.not_after:
            from datetime import datetime

            end = datetime.fromisoformat(tls.not_after).timestamp()
            yield "hostaudit_probe_certificate_expiry_timestamp_seconds", labels, end
    for dns in probes.dns:
        labels = {"kind": "dns", "vantage": dns.vantage, "target": dns.name, "address": dns.server}
        yield "hostaudit_probe_ok", labels, float(say.dns(dns)[0])


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for k, v in labels.items()}
    return "{" + ",".join(f'{k}="{v}"' for k, v in escaped.items()) + "}"
