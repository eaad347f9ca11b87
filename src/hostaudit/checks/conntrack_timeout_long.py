"""No state of dead connections fills the connection tracking table.

What it reads
    The census of TCP entries by state, the table's use, and ``nf_conntrack_tcp_timeout_*``.

Why it matters
    Entries live on after their connection: 120 s in TIME_WAIT and FIN_WAIT, 60 s in CLOSE_WAIT, five days in
    ESTABLISHED when a peer vanished. On a busy host most of a full table can be connections that ended long ago, and
    a larger table only moves the wall.

Active when
    Never: a long timeout loses no packet by itself. It is a risk when the table is ``used_share`` full and one state
    has ``state_share`` of its entries while its timeout is longer than it has to be. Without a census it is unknown
    then.

How it is remedied
    Role ``conntrack_timeouts`` sets 30 s for TIME_WAIT, FIN_WAIT and CLOSE_WAIT, or a day for ESTABLISHED. The
    Proxmox firewall owns the latter (host.fw), kube-proxy that of ESTABLISHED and CLOSE_WAIT; kube-proxy's hour for
    CLOSE_WAIT is wanted there and is not lowered.

Fix safety
    Entries that exist keep their old timer until their next packet. An ESTABLISHED timeout must stay above the
    keepalive time of the applications (two hours by default), or idle connections lose their entry.

References
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
    https://github.com/kubernetes/kubernetes/issues/32551
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _say, _table, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_ENOUGH = {"TIME_WAIT": 30, "FIN_WAIT": 30, "CLOSE_WAIT": 30, "ESTABLISHED": 86400}
"""Seconds that are enough, by state of the kernel's table."""


@check(reads=("conntrack",), severity=Severity.MEDIUM, thresholds={"used_share": 0.75, "state_share": 0.5})
def evaluate(view: View) -> Finding:
    """Find the state that fills the table, and compare its timeout with what is enough."""
    table = view.snapshot.conntrack
    assert table is not None  # noqa: S101 - reads
    if why := _table.idle(table):
        return not_applicable(why)
    used = _table.usage(table)
    if used is None:
        return unknown("the number of entries or the limit could not be read")
    if used < view.threshold("used_share"):
        return passed(f"the table has room ({used:.0%} used): no timeout is too long", timeouts=table.timeouts)
    if table.census is None or not table.census.entries:
        reasons = [u.reason for u in view.unread("conntrack.census")]
        return unknown(f"the table is {used:.0%} full, by what is not known: {reasons[0] if reasons else 'no census'}")
    state, number = max(table.census.tcp.items(), key=lambda item: item[1], default=("", 0))
    share = number / table.census.entries
    name = f"tcp_{state.lower()}"
    timeout, enough = table.timeouts.get(name, 0), _ENOUGH.get(state, 0)
    evidence = _table.contents(table) | {"state": state, "share": round(share, 3), "timeout": timeout}
    summary = f"{share:.0%} of the entries are {state} (timeout {timeout} s), table {used:.0%} full"
    if share < view.threshold("state_share") or not enough or timeout <= enough:
        return passed(f"the table is {used:.0%} full, but not by a timeout that is too long", **evidence)
    key = f"net.netfilter.nf_conntrack_{name.replace('tcp_', 'tcp_timeout_', 1)}"
    advice, remedy = _fix(view, key, name, enough)
    writer = owners.writer(view.snapshot.platform, key)
    return view.fail(
        Grade.RISK,
        summary,
        evidence=evidence,
        reproduce=_say.shell(
            view,
            f"conntrack -L -p tcp 2>/dev/null | awk '{{n[$4]++}} END {{for (s in n) print n[s], s}}'; sysctl {key}",
        ),
        disproof=f"Most entries are in another state than {state} when the table is fullest.",
        owner=writer.name if writer else "",
        remedy=remedy,
        advice=advice,
        cause=f"entries in {state} fill the connection tracking table",
    )


def _fix(view: View, key: str, name: str, seconds: int) -> tuple[str, Remedy | None]:
    writer = owners.writer(view.snapshot.platform, key)
    if writer and writer.name == "kube-proxy" and name == "tcp_close_wait":
        why = (
            "kube-proxy keeps CLOSE_WAIT for an hour on purpose: do not lower it; find the program that does not close"
        )
        return f"{why} its sockets, or give the table more room.", None
    if writer and writer.option and not view.netns:
        return (
            f"Set `{writer.option}: {seconds}` in {writer.place}: {writer.name} writes the key again {writer.when}.",
            Remedy("pve_firewall", {"pve_firewall_options": {writer.option: seconds}}),
        )
    if writer:
        return f"{writer.name} writes {key} {writer.when}: set it in {writer.place}.", None
    remedy = None if view.netns else Remedy("conntrack_timeouts", {"conntrack_timeouts_seconds": {name: seconds}})
    return f"Set {key}={seconds}; raising nf_conntrack_max only moves the wall.", remedy
