"""No host differs from the others of its cohort.

What it reads
    Of every host of the cohort: rules of the packet filter, sysctls, modules, MTUs, versions, routes and whatever else
    the agent read of hosts of one kind; rates of the counters that speak of loss. Names, addresses, counters and guests
    may differ, and limits that are computed from memory or processors where these differ. Sysctls are compared among
    hosts of one release.

Why it matters
    A host that joined later, or was mended by hand one night, lacks a rule or has another value, and fails where
    its peers work. No rule has to be written for it: the others are the rule.

Active when
    Never: a difference is no proof of a loss. A risk when at most ``odd_share`` of the hosts (one at least) have a
    value that a clear majority does not have, or lose at ``rate_factor`` times the median and ``rate_per_second`` at
    least. Low when a rule of the packet filter or a network sysctl differs, information otherwise. Silent below three
    hosts.

How it is remedied
    By nobody but its owner, who knows which of the two is right. Hosts that differ on purpose belong into cohorts of
    their own: ``hostaudit_cohort`` in the inventory.

Fix safety
    The majority is not always right: a fix that was begun on one host looks the same as a fault on one host.

References
    https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
"""

from __future__ import annotations

import re
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING

from hostaudit.checks import _alike, _say, cohort_check
from hostaudit.checks._odd import Difference, differences
from hostaudit.cohort import SMALLEST
from hostaudit.model import Finding, Grade, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.checks import View

MOST = 8
"""Differences of one host that are shown."""
KINDS = (
    ("a firewall rule", r"firewall\..*\[.*", "iptables-save; ip6tables-save; nft list ruleset"),
    ("a firewall", r"firewall\..*", "iptables-save; ip6tables-save; nft list ruleset"),
    ("a sysctl", r"sysctl\.knobs\.net\..*", "sysctl -a --pattern '^net'"),
    ("a module", r"platform\.modules.*", "lsmod; sysctl -a --pattern '^net'"),
    ("an MTU", r"link\.links.*\.mtu", "ip -d link"),
    ("a map of Cilium", r"bpf\..*", "bpftool map show | grep -A1 cilium_"),
    ("a rate", r"counters\..*", "nstat -az; sleep 5; nstat"),
    ("a version", r"platform\.(kernel|os_.*|arch|.*version|.*packages.*)", "uname -r; cat /etc/os-release"),
    ("a setting", r".*", "sysctl -a; ip -d link; ip route; uname -r"),
)
"""Most telling first: what it is called, its paths, the command that shows it."""
LOSS = re.compile(
    r"TcpExt\.(Listen\w+|TCPTimeouts|TCPReqQFull\w+|IPReversePathFilter)|Tcp\.RetransSegs|softnet\.dropped"
)


@cohort_check(
    reads=("platform",),
    severity=Severity.LOW,
    thresholds={"odd_share": 0.2, "rate_factor": 3, "rate_per_second": 5},
)
def evaluate(views: Sequence[View]) -> list[Finding]:
    """Compare every fact of every host with the majority's."""
    found = differences(views, views[0].threshold("odd_share"))
    for name, difference in _rates(views):
        found.setdefault(name, []).append(difference)
    findings = [_finding(view, found[view.host.name], len(views)) for view in views if view.host.name in found]
    partial = {view.host.name: _alike.unread(view) for view in views if _alike.unread(view)}
    if partial:
        names = ", ".join(sorted({surface for missing in partial.values() for surface in missing}))
        findings.append(Finding(Status.UNKNOWN, f"not compared, not read in full: {names}", hosts=tuple(partial)))
    if not found:
        summary = f"none of {len(views)} hosts differs from the others in what is compared"
        findings.append(Finding(Status.PASS, summary, hosts=tuple(view.host.name for view in views)))
    return findings


def _rank(one: Difference) -> int:
    return next(rank for rank, (_, pattern, _) in enumerate(KINDS) if re.fullmatch(pattern, one.path))


def _rates(views: Sequence[View]) -> Iterator[tuple[str, Difference]]:
    """Yield the hosts that lose at a multiple of what is usual."""
    moved = {v.host.name: (v.snapshot.counters.delta, v.snapshot.interval) for v in views if v.snapshot.counters}
    rates = {
        n: {k: x / s for k, x in d.items() if _speaks_of_loss(k)} for n, (d, s) in moved.items() if d is not None and s
    }
    least, factor = views[0].threshold("rate_per_second"), views[0].threshold("rate_factor")
    for key in sorted({key for one in rates.values() for key in one}):
        values = {name: one.get(key, 0.0) for name, one in rates.items()}
        usual = median(values.values())
        for name, rate in values.items():
            if len(values) >= SMALLEST and rate >= max(least, factor * usual):
                here, others = f"{rate:.1f} a second", f"{usual:.1f} a second (median)"
                yield name, Difference(f"counters.{key}", here, others)


@lru_cache(maxsize=1 << 12)
def _speaks_of_loss(counter: str) -> bool:
    return LOSS.fullmatch(counter) is not None


def _finding(view: View, found: Sequence[Difference], hosts: int) -> Finding:
    all_ = sorted(found, key=lambda one: (_rank(one), one.path))
    first = all_[0]
    kind, _, command = KINDS[_rank(first)]
    more = f" and {_say.plural(len(all_) - 1, 'other thing')}" if len(all_) > 1 else ""
    rows = [{"what": d.path, "here": d.here, "others": d.others} for d in all_[:MOST]]
    return view.fail(
        Grade.RISK,
        f"differs from {hosts - 1} hosts like it in {kind}{more}",
        severity=Severity.LOW if _rank(first) <= 2 else Severity.INFO,
        evidence={"differs": rows, "differences": len(all_)},
        reproduce=command,
        disproof="The same command prints the same on the others, apart from addresses; or the difference is wanted.",
        advice="Find who made the difference (`hostaudit log`), and make the hosts alike. Where it is wanted, give the "
        "host a cohort of its own: hostaudit_cohort in the inventory.",
        cause=re.sub(r"\d+", "#", f"{first.path} is {first.here}, elsewhere {first.others}"),
    )
