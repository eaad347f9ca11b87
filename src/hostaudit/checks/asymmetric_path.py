"""Requests and replies of a connection go through the same hosts, or the asymmetry is declared.

What it reads
    TCP entries that wait for a SYN-ACK, on this host and on the others of its cohort; how many packets connection
    tracking called INVALID here between the samples; rules that drop INVALID and their counters; ``hostaudit_vips`` and
    ``hostaudit_asymmetric`` of the inventory.

Why it matters
    Where the SYN goes through one host and the SYN-ACK through another, each of them sees half a connection. That works
    while none of them filters by state, and breaks for exactly these connections the day one does: after an upgrade, a
    new node, a firewall that is switched on. A SYN_SENT entry that stays unreplied on one hypervisor and is absent on
    another one, which calls packets INVALID meanwhile, is the trace of it that needs no capture.

Active when
    Never: such a path loses nothing by itself, and what does is active as conntrack-invalid-drop. It is told as a
    risk where ``handshakes`` or more to one address wait on another host of the cohort and are unknown here, this host
    called as many packets INVALID between the samples, and either a rule dropped them (``active_packets`` or more, on
    a host that only routes also more than ``noise_share`` of what it forwards; then it is high) or the address is one
    of ``hostaudit_vips``. A dead server leaves unreplied entries, too, and stray packets are INVALID on any host. Where
    the asymmetry is declared, it passes: what drops there is conntrack-invalid-drop's to tell.

How it is remedied
    By a person: accept INVALID on all of these hosts (check conntrack-invalid-drop has the change), or make the path
    symmetric. ``hostaudit trace VIP:PORT`` shows the way of each connection, ``hostaudit paths`` which combinations of
    address and backend are asymmetric by design.

Fix safety
    Reading changes nothing. Declaring the asymmetry makes conntrack-invalid-drop propose a change, which says its own
    risks.

References
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
    https://pve.proxmox.com/wiki/Firewall
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _halves, _invalid, _loosen, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(
    reads=("conntrack", "firewall", "link", "sysctl"),
    severity=Severity.MEDIUM,
    thresholds={"handshakes": 3, "active_packets": 3, "noise_share": 0.01},
)
def evaluate(view: View) -> Finding:
    """Pair the handshakes that wait elsewhere with the INVALID packets of this host."""
    conntrack = view.snapshot.conntrack
    assert conntrack is not None  # noqa: S101 - declared in reads
    if not conntrack.loaded or not _invalid.paths(view.snapshot):
        return not_applicable("nothing passes through this host with its connections tracked")
    if conntrack.delta is None:
        return unknown("one sample: whether packets are called INVALID now is not known")
    invalid = conntrack.delta.get("invalid", 0)
    drops = _invalid.of(view)
    dropping = _invalid.dropping(view, drops)
    most = _waiting(view, every=dropping)
    if most is None or len(most["handshakes"]) < view.threshold("handshakes") or invalid < len(most["handshakes"]):
        return passed("no handshake waits elsewhere whose answer could have come here", invalid=invalid)
    declared = _halves.cohort(view).declared_for(view.host.name)
    evidence = {**most, "invalid_delta": invalid, "seconds": view.snapshot.interval, "declared": declared}
    if declared:  # where a rule drops the one half, conntrack-invalid-drop says so, and has the change that ends it
        return passed("the path is asymmetric, as declared", **evidence)
    number = _say.plural(len(most["handshakes"]), "handshake")
    return view.fail(
        Grade.RISK,
        f"{number} to {most['target'][:28]} wait on {most['waiting_on'][:12]}; this host saw no SYN",
        severity=Severity.HIGH if dropping else Severity.MEDIUM,
        evidence=evidence | ({"rule": drops.chain, "dropped": drops.moved} if drops.met else {}),
        reproduce=_say.shell(view, "conntrack -S; conntrack -L -p tcp --state SYN_SENT; sleep 5; conntrack -S"),
        disproof="This host's own table has the same tuples; or `hostaudit trace` shows one host for both directions.",
        advice=(
            "See it with `hostaudit trace VIP:PORT`. If it is meant (DSR, VRRP, ECMP), say so with "
            "hostaudit_asymmetric=<reason> on these hosts, and let all of them accept INVALID; else make the path "
            "symmetric."
        ),
        owner=_loosen.owner(drops.met[0]) if drops.met else "",
        cause="replies come through another host than requests",
    )


Group = dict[str, Any]
"""``waiting_on`` a host, to one ``target``: ``handshakes``."""


def _waiting(view: View, *, every: bool) -> Group | None:
    """Return the most handshakes to one address that wait on one other host and are unknown here.

    With most other hosts this one has no handshake in common, and what waits there is the same for all who ask.
    """
    vips = view.once(_vips, of_cohort=True)
    near = _halves.sharing(view)
    ranked = view.once(_ranked if every else _ranked_vips, of_cohort=True)
    far = next((group for group in ranked if group["waiting_on"] not in near), None)
    groups = _groups(_halves.pairs(view, [view.host.name], near), None if every else vips)
    return min([*groups, *([far] if far else [])], key=_most_first, default=None)


def _ranked(view: View) -> list[Group]:
    return sorted(_groups(_halves.alone(view), None), key=_most_first)


def _ranked_vips(view: View) -> list[Group]:
    return sorted(_groups(_halves.alone(view), view.once(_vips, of_cohort=True)), key=_most_first)


def _most_first(group: Group) -> tuple[int, str]:
    return -len(group["handshakes"]), group["waiting_on"]


def _groups(pairs: Iterable[dict[str, Any]], targets: set[str] | None) -> Iterator[Group]:
    for pair in pairs:
        found: dict[str, list[str]] = {}
        for one in pair["handshakes"]:
            found.setdefault(one.rpartition(">")[2], []).append(one)
        for target, some in found.items():
            if targets is None or _address(target) in targets:
                yield {"waiting_on": pair["waiting_on"], "target": target, "handshakes": some}


def _vips(view: View) -> set[str]:
    return {_address(vip) for one in (view, *view.peers) for vip in one.host.vips}


def _address(text: str) -> str:
    """Return the address of ``10.0.0.100``, ``10.0.0.100:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``."""
    return (text.rpartition(":")[0] if text.count(":") == 1 or "]:" in text else text).strip("[]")
