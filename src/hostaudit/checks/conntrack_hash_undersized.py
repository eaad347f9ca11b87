"""The hash of the connection tracking table is large enough for its limit.

What it reads
    ``nf_conntrack_max`` and ``nf_conntrack_buckets``.

Why it matters
    Each entry is in the hash twice, once per direction, so chains are ``2 * max / buckets`` long when the table is
    full. Raising the limit alone, the usual advice of the web, makes every packet of the host walk longer chains,
    and above about 50 the kernel refuses the entry (``chain_toolong``).

Active when
    Never: it is a risk while ``max / buckets`` is above ``entries_per_bucket``. Refused entries are reported by
    ``conntrack-insert-failed``.

How it is remedied
    Role ``conntrack_table`` sets the hash to a quarter of the limit, which is what pve-firewall and kube-proxy do.
    Where one of them owns the limit there is only advice: pve-firewall writes the hash only together with a changed
    limit and kube-proxy only raises it, so what is written to the module's parameter by hand stays.

Fix safety
    The kernel builds the new hash beside the old one and moves every entry; 8 bytes a bucket, no flow is interrupted.

References
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _table, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("conntrack",), severity=Severity.MEDIUM, thresholds={"entries_per_bucket": 8})
def evaluate(view: View) -> Finding:
    """Compare the limit with the number of buckets."""
    table = view.snapshot.conntrack
    assert table is not None  # noqa: S101 - reads
    if not table.loaded:
        return not_applicable("connection tracking is not loaded")
    if view.netns:
        return not_applicable("all namespaces share the hash: judged once for the host")
    if not table.max or not table.buckets:
        return unknown("the limit or the number of buckets could not be read")
    ratio = table.max / table.buckets
    evidence = {"max": table.max, "buckets": table.buckets, "entries_per_bucket": round(ratio, 1)}
    summary = f"{table.max} entries on {table.buckets} buckets: {ratio:.1f} per bucket"
    if ratio <= view.threshold("entries_per_bucket"):
        return passed(summary, **evidence)
    size = table.max // 4
    here = _table.settable(view)
    return view.fail(
        Grade.RISK,
        summary,
        evidence=evidence,
        reproduce="sysctl net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_buckets",
        disproof="nf_conntrack_buckets is at least a quarter of nf_conntrack_max.",
        owner=_table.owner(view),
        remedy=_table.hash_remedy(view),
        advice=(
            f"Write {size} to /sys/module/nf_conntrack/parameters/hashsize and, for the next boot, `options "
            f"nf_conntrack hashsize={size}` to a file in /etc/modprobe.d; keep nf_conntrack_max configured with it, or "
            f"the kernel makes it eight times that{'' if here else '. All on the machine that runs this container'}."
        ),
        cause="the hash of the connection tracking table is too small for its limit",
    )
