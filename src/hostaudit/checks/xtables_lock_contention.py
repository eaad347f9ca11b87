"""Writers of iptables rules do not wait for each other.

What it reads
    Who holds /run/xtables.lock and who waits for it (/proc/locks), in both samples; how many iptables rules there are.

Why it matters
    Every change of legacy iptables takes one lock, and reads and writes whole tables: with thousands of rules that is
    seconds. kube-proxy, the CNI, the firewall and scripts then wait in a line, and Services point to pods that are
    gone meanwhile. A program that hangs with the lock stops them all.

Active when
    The same process waited in both samples: longer than the time between them. It is a risk where one process held
    the lock in both, or somebody waited in the last; a lock that changes hands is normal. Two moments may miss short
    waits.

How it is remedied
    By hand: kube-proxy's ``minSyncPeriod`` or its nftables mode; fewer other writers; end what hangs.

Fix safety
    Ending a process gives the lock free at once. An iptables-restore that is ended has changed its whole table or
    nothing.

References
    https://kubernetes.io/docs/reference/networking/virtual-ips/
    https://man7.org/linux/man-pages/man5/proc_locks.5.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("firewall",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare who held the lock and who waited in both samples."""
    firewall = view.snapshot.firewall
    assert firewall is not None  # noqa: S101 - reads
    if view.netns:
        return not_applicable("the lock is the host's, not a namespace's")
    if missing := view.unread("firewall.xtables_lock"):
        return unknown(f"the lock could not be looked at: {missing[0].reason}")
    lock = firewall.xtables_lock
    if lock is None:
        return not_applicable("nobody has used the lock of iptables since boot")
    rules = sum(number for name, number in firewall.backends.items() if name.startswith("iptables-legacy"))
    evidence = {
        "holder": lock.holder,
        "waiting": lock.waiting,
        "held_throughout": lock.held_throughout,
        "waited_throughout": lock.waited_throughout,
        "rules": rules,
        "seconds": view.snapshot.interval,
    }
    if not (lock.waiting or lock.held_throughout):
        return passed("nobody waits for the lock of iptables", **evidence)
    who = lock.holder[:20] or "nobody now"
    if lock.waited_throughout:
        summary = f"{lock.waited_throughout[0][:20]} waits over {_say.window(view)} for the lock of {who}"
    elif lock.held_throughout:
        summary = f"{who} holds the lock of iptables over {_say.window(view)}"
    else:
        summary = f"{lock.waiting[0][:20]} waits for the lock of iptables, held by {who}"
    return view.fail(
        Grade.ACTIVE if lock.waited_throughout else Grade.RISK,
        summary,
        severity=Severity.MEDIUM if lock.waited_throughout else Severity.LOW,
        evidence=evidence,
        reproduce=_say.twice("lslocks | grep -e COMMAND -e xtables"),
        disproof="`lslocks` shows the lock free, or in other hands, each time.",
        advice=(
            "See what the holder does (`cat /proc/PID/stack`, its log) and end it if it hangs. If writers are many: "
            "kube-proxy's iptables.minSyncPeriod, or its nftables mode, which has no such lock."
        ),
        cause="writers of iptables rules wait for each other",
    )
