"""The neighbour tables (ARP and NDP) have room.

What it reads
    ``arp_cache`` and ``ndisc_cache``: entries and ``table_fulls``; ``neigh.default.gc_thresh3`` of IPv4 and IPv6.

Why it matters
    Above gc_thresh3 the kernel refuses new neighbours: hosts that were not talked to lately cannot be reached, at
    random, in every namespace of the machine, because all share one table. The default of 1024 is small for a flat
    network or a node with many pods.

Active when
    ``table_fulls`` grew between the samples. Without movement it is a risk from ``risk_share`` of gc_thresh3 on, high
    from ``high_share`` on. Inside a container the limits do not exist: they are the host's.

How it is remedied
    Role ``neighbour_table`` raises gc_thresh1, 2 and 3 of that address family together, in the proportion 1:4:8.

Fix safety
    It takes effect at once; an entry takes about half a kilobyte. A table that fills with addresses that do not
    exist is a scan of the subnet: raising the limit only gives it room.

References
    https://docs.kernel.org/networking/ip-sysctl.html
    https://man7.org/linux/man-pages/man7/arp.7.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _kernellog, _say, check, not_applicable, passed
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_TABLES = {"arp_cache": "net.ipv4.neigh.default.gc_thresh3", "ndisc_cache": "net.ipv6.neigh.default.gc_thresh3"}


@check(reads=("counters", "sysctl"), severity=Severity.MEDIUM, thresholds={"risk_share": 0.8, "high_share": 0.9})
def evaluate(view: View) -> Finding:
    """Judge the fuller of the two tables."""
    counters = view.snapshot.counters
    assert counters is not None  # noqa: S101 - reads
    facts: dict[str, dict[str, Any]] = {}
    for name, key in _TABLES.items():
        limit, entries = _say.number(view.snapshot.sysctl, key), counters.totals.get(f"{name}.entries")
        if limit and entries is not None:
            refused = (counters.delta or {}).get(f"{name}.table_fulls", 0)
            total = counters.totals.get(f"{name}.table_fulls")
            facts[name] = {
                "entries": entries,
                "limit": limit,
                "used": entries / limit,
                "refused": refused,
                "ever": total,
            }
    if not facts:
        return not_applicable("the neighbour tables' limits belong to the kernel's first namespace, not to this one")
    name, worst = max(facts.items(), key=lambda item: (item[1]["refused"], item[1]["used"]))
    summary = f"{name}: {worst['entries']} of {worst['limit']} neighbours ({worst['used']:.0%})"
    if not worst["refused"] and worst["used"] < view.threshold("risk_share"):
        return passed(summary, tables=facts)
    if worst["refused"]:
        summary += f", {worst['refused']} refused in {_say.window(view)}"
    high = worst["refused"] or worst["used"] >= view.threshold("high_share")
    family = _TABLES[name].split(".")[1]
    size = max(8192, 1 << (worst["limit"] * 2 - 1).bit_length())
    return view.fail(
        Grade.ACTIVE if worst["refused"] else Grade.RISK,
        summary,
        severity=Severity.HIGH if high else None,
        evidence={"tables": facts, "seconds": view.snapshot.interval} | _kernellog.evidence(view, "neigh-full"),
        reproduce=(
            f"sysctl {_TABLES[name]}; ip -s neigh show nud all | grep -c lladdr; "
            f"{_say.twice(f'head -3 /proc/net/stat/{name}')}"
        ),
        disproof=(
            "table_fulls stands still, and most entries are permanent or learned from outside: those do not count "
            "against gc_thresh3."
        ),
        remedy=Remedy(
            "neighbour_table",
            {f"neighbour_table_gc_thresh{n}": size // part for n, part in ((1, 8), (2, 2), (3, 1))}
            | {"neighbour_table_families": [family]},
        ),
        advice=(
            f"Raise gc_thresh1, 2 and 3 of net.{family}.neigh.default to {size // 8}, {size // 2} and {size}. Many "
            "FAILED entries (`ip neigh show nud failed`) are a scan: find who asks for addresses that do not exist."
        ),
        cause=f"{name} is full" if high else f"{name} fills up",
    )
