"""What each report costs: ``reporters.py [HOSTS...]`` (1,000 and 10,000): CPU time, peak memory, size of the file.

The run is made here: every check has a verdict on every host, one host in ten has three findings with their evidence,
one in fifty did not answer, one in a hundred was read in part. Each format is rendered in a process of its own that
begins with the run in memory, through what the commands use; its time is that of the reporter alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from hostaudit import report
from hostaudit.causes import causes
from hostaudit.checks import all_checks
from hostaudit.evaluate import counts
from hostaudit.model import Finding, Grade, HostReport, Run, Severity, Status
from hostaudit.report._files import Target, write

RULE = "iptables-legacy ip filter PVEFW-FORWARD 1: -A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"
SEEN = "iptables-legacy -t filter -nvxL PVEFW-FORWARD; sleep 5; iptables-legacy -t filter -nvxL PVEFW-FORWARD"
FAILED = ("conntrack-invalid-drop", "asymmetric-path", "sysctl-drift")
"""The second is a symptom of the first."""


def made(count: int) -> Run:
    """Return a run of so many hosts."""
    names = [f"node{number:05}.example.net" for number in range(count)]
    findings = [one for number, name in enumerate(names) for one in _verdicts(number, name)]
    hosts = [_host(number, name) for number, name in enumerate(names)]
    moment = "2026-11-21T06:00:00Z"
    tally = {**counts(findings), "waived": 0}
    return Run(
        "20260101T060000Z-bench", moment, moment, "0", tuple(hosts), tuple(findings), tally, causes=causes(findings)
    )


def _host(number: int, name: str) -> HostReport:
    if number % 50 == 7:
        return HostReport(name, "unreachable", f"{name}: no answer within 10 s")
    if number % 100 == 3:
        return HostReport(name, "partial", "firewall: needs CAP_NET_ADMIN", "6.12.0", "Debian 12", 1.5)
    return HostReport(name, "ok", "", "6.12.0", "Debian 12", 1.5)


def _verdicts(number: int, name: str) -> list[Finding]:
    if number % 50 == 7:
        return []
    failed = FAILED if number % 10 == 0 else ()
    return [
        _failed(number, name, check) if check in failed else Finding(_other(number, place), "", check=check, host=name)
        for place, check in enumerate(all_checks())
    ]


def _other(number: int, place: int) -> Status:
    return Status.UNKNOWN if number % 100 == 3 and place < 9 else Status.NA if place % 2 else Status.PASS


def _failed(number: int, name: str, check: str) -> Finding:
    active = check == "conntrack-invalid-drop"
    keys = {"net.core.somaxconn": {"running": "4096", "configured": "5000", "at": "/etc/sysctl.d/90-web.conf:3"}}
    rules = [{"rule": RULE, "packets": 8000 + number, "delta": number, "owner": "pve-firewall"}]
    return Finding(
        Status.FAIL,
        f"PVEFW-FORWARD dropped {number} INVALID packets in 4 s" if active else "net.core.somaxconn runs 4096",
        Grade.ACTIVE if active else Grade.RISK,
        Severity.HIGH if active else Severity.LOW,
        check=check,
        host=name,
        evidence={"rules": rules, "seconds": 4.0} if active else {"drifted": keys},
        reproduce=SEEN,
        disproof="The rule's counter stands still while a client that times out tries again.",
        owner="pve-firewall" if active else "",
        advice="Set nf_conntrack_allow_invalid to 1 in host.fw of both hypervisors.",
    )


def measure(run: Run, name: str, file: Path) -> tuple[float, float]:
    """Return CPU seconds of one report, and the peak of its process in MiB."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        began = time.process_time()
        write([Target(name, file)], run, report.Style(), print)
        os.write(writable, str(time.process_time() - began).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as said:
        cpu = float(said.read())
    _, status, used = os.wait4(child, 0)
    assert status == 0, status
    return cpu, used.ru_maxrss / 1024


def main(arguments: list[str]) -> int:
    for count in [int(a) for a in arguments] or [1000, 10_000]:
        run = made(count)
        print(f"\nReports of {count:,} hosts, {len(run.findings):,} verdicts, {run.counts['fail']:,} findings\n")
        print(f"  {'format':<11} {'CPU s':>7} {'peak MiB':>9} {'MB':>7}")
        with tempfile.TemporaryDirectory(prefix="hostaudit-bench-") as folder:
            for name in report.formats():
                file = Path(folder, name)
                cpu, peak = measure(run, name, file)
                print(f"  {name:<11} {cpu:>7.2f} {peak:>9.0f} {file.stat().st_size / 1e6:>7.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
