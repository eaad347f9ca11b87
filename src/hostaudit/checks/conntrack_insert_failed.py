"""Every new flow finds its place in the connection tracking table.

What it reads
    Conntrack's ``insert_failed``, ``chain_toolong``, ``clash_resolve`` and ``drop`` of two samples; how full the
    table is.

Why it matters
    The packet whose entry cannot be inserted is dropped, and nobody is told. Two causes look alike in one counter.
    Two flows clash for one tuple: source ports of masquerading, or the A and AAAA query of one resolver leaving by
    one socket, which is the five-second DNS delay. Or a hash chain is too long: too few buckets for the table, or
    an attack on the hash. ``drop`` without a full table is a clash that could not be resolved, or a failed helper.

Active when
    ``insert_failed``, or ``drop`` while less than ``full_share`` of the table is used, grew by ``active_packets`` or
    more between the samples.
    Totals since boot never count: they only tell that it happened once. A ``clash_resolve`` is a race that the
    kernel did resolve: it is shown, and no fault.

How it is remedied
    A long chain: role ``conntrack_table`` sets the hash to a quarter of the limit. A clash has no remedy on the
    host; the advice names the usual places: random source ports, a DNS cache on the node, ``single-request-reopen``.

Fix safety
    A larger hash costs 8 bytes a bucket and interrupts nothing.

References
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
    https://github.com/kubernetes/kubernetes/issues/56903
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, _table, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_CLASH = (
    "Two flows wanted one tuple. Let masquerading choose ports at random (`--random-fully`), "
    "keep DNS off conntrack (a cache on the node, NOTRACK for port 53), or set `options single-request-reopen` in the "
    "resolver; for services, externalTrafficPolicy: Local avoids the translation."
)
_COUNTERS = ("insert_failed", "chain_toolong", "drop", "clash_resolve")


@check(reads=("conntrack",), severity=Severity.MEDIUM, thresholds={"active_packets": 1, "full_share": 0.75})
def evaluate(view: View) -> Finding:
    """Tell long hash chains and clashes apart."""
    table = view.snapshot.conntrack
    assert table is not None  # noqa: S101 - reads
    if why := _table.idle(table):
        return not_applicable(why)
    if not table.stats:
        reasons = [u.reason for u in view.unread("conntrack.stats")]
        return unknown(f"conntrack's statistics were not read: {reasons[0] if reasons else 'the kernel has none'}")
    totals = {name: table.stats[name] for name in _COUNTERS if name in table.stats}
    if table.delta is None:
        if any(totals.get(name) for name in _COUNTERS[:3]):
            return unknown("one sample only: totals since boot do not tell what happens now")
        return passed("no entry was ever refused", totals=totals)
    delta = {name: table.delta.get(name, 0) for name in totals}
    chains = delta.get("chain_toolong", 0)
    clashes = max(delta.get("insert_failed", 0) - chains, 0)  # the kernel counts a long chain in both
    if (_table.usage(table) or 0) < view.threshold("full_share"):
        clashes = max(clashes, delta.get("drop", 0))  # the kernel counts an unresolved clash in both, too
    evidence = {"delta": delta, "totals": totals, "seconds": view.snapshot.interval} | _table.contents(table)
    if chains + clashes < view.threshold("active_packets"):
        return passed(f"no entry was refused in {_say.window(view)}", **evidence)
    size = (table.max or 0) // 4
    undersized = chains > 0 and size > (table.buckets or 0)
    summary = f"{_say.plural(clashes, 'new flow')} lost to a clash in {_say.window(view)}"
    advice = _CLASH
    if chains:
        summary = f"{_say.plural(chains, 'new flow')} lost to hash chains too long in {_say.window(view)}"
        advice = "Too many entries share one bucket. " + (
            f"Set /sys/module/nf_conntrack/parameters/hashsize to {size}, a quarter of the limit."
            if undersized
            else "The hash is large enough for the limit, so look for one source that makes the entries."
        )
    return view.fail(
        Grade.ACTIVE,
        summary,
        evidence=evidence,
        reproduce=_say.shell(view, _say.twice("conntrack -S")),
        disproof="insert_failed and drop of `conntrack -S` stand still while clients report the fault.",
        remedy=_table.hash_remedy(view) if undersized else None,
        advice=advice,
        cause="hash chains of the connection tracking table are too long" if chains else "flows clash for one tuple",
    )
