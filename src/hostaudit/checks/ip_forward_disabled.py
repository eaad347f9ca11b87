"""A host that has to route does route.

What it reads
    ``net.ipv4.ip_forward``, the programs of this host, ``hostaudit_role`` of the inventory, and ``Ip.InAddrErrors``.

Why it matters
    A node of a cluster, a container host or a router with forwarding off drops everything that is not for itself.
    Hardening guides and roles set ``net.ipv4.ip_forward=0`` for all servers alike, and it hits at the next boot.

Active when
    ``Ip.InAddrErrors`` grew between the samples: the kernel counts there the packets that it would have to forward
    and may not. Without movement it is a risk. Judged only where kube-proxy, Cilium or Docker runs, or where the
    inventory says ``hostaudit_role=router`` (or ``node``, ``hypervisor-routed``).

How it is remedied
    Role ``sysctl`` sets ``net.ipv4.ip_forward=1``, now and in a file that comes after the one that says 0.

Fix safety
    Switching forwarding on resets parts of ``conf.*`` to the defaults of a router (accept_redirects). Know the
    firewall's FORWARD policy first: from that moment it decides.

References
    https://docs.kernel.org/networking/ip-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_KEY = "net.ipv4.ip_forward"
_ROUTERS = ("kube-proxy", "cilium", "docker")
_ROLES = frozenset({"router", "node", "hypervisor-routed"})


@check(reads=("sysctl", "platform"), severity=Severity.HIGH)
def evaluate(view: View) -> Finding:
    """Ask whether the host has to route, then whether it may."""
    if view.netns:
        return not_applicable("what runs on the host says nothing about this namespace")
    why = [name for name in _ROUTERS if owners.present(view.snapshot.platform, name)]
    role = str(view.host.variables.get("hostaudit_role", "")).strip().lower()
    why += [f"hostaudit_role={role}"] if role in _ROLES else []
    if not why:
        return not_applicable("nothing on this host needs it to route (no such program, no hostaudit_role)")
    value = _say.number(view.snapshot.sysctl, _KEY)
    if value is None:
        reasons = [u.reason for u in view.unread(f"sysctl.{_KEY}")]
        return unknown(f"{_KEY} could not be read: {reasons[0] if reasons else 'no number'}")
    refused = _refused(view)
    place = _say.place(view.snapshot.sysctl, _KEY)
    evidence = {_KEY: value, "set_at": place, "needed_by": why, "Ip.InAddrErrors": refused}
    if value:
        return passed(f"forwarding is on, as {why[0]} needs it", **evidence)
    lost = f": {_say.plural(refused, 'packet')} lost in {_say.window(view)}" if refused else ""
    return view.fail(
        Grade.ACTIVE if refused else Grade.RISK,
        f"forwarding is off, and {why[0]} needs it{lost}",
        evidence=evidence,
        reproduce=f"sysctl {_KEY}; {_say.twice('nstat -az IpInAddrErrors')}",
        disproof="Containers or clients behind this host reach the outside while the value is 0.",
        remedy=Remedy("sysctl", {"sysctl_values": {_KEY: 1}}),
        advice=f"Set {_KEY}=1 in a file of /etc/sysctl.d" + (f"; {place} says otherwise today." if place else "."),
        cause="forwarding is off on a host that routes",
    )


def _refused(view: View) -> int:
    delta = (view.snapshot.counters.delta if view.snapshot.counters else None) or {}
    return delta.get("Ip.InAddrErrors", 0)
