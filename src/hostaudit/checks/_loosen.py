"""Who makes a rule that drops INVALID, and how it is told to accept such packets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _say
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.checks import View
    from hostaudit.checks._invalid import Drops
    from hostaudit_agent.snapshot import Rule

OPTION = "nf_conntrack_allow_invalid"

NAMED = 40
"""Hosts that one advice names."""
_PROXMOX = frozenset({"pve-firewall", "proxmox-firewall"})
_TABLES = {"proxmox-firewall": "proxmox-firewall", "proxmox-firewall-guests": "proxmox-firewall"}
_TABLES |= {"firewalld": "firewalld", "firewalld_policies": "firewalld"}
_CHAINS = (
    ("PVEFW-", "pve-firewall"),
    ("KUBE-ROUTER-", "kube-router"),
    ("KUBE-", "kube-proxy"),
    ("ufw", "ufw"),
    ("DOCKER", "docker"),
    ("cali-", "calico"),
)
_ADVICE = {
    "kube-proxy": (
        "In kube-proxy's ConfigMap set `conntrack: {tcpBeLiberal: true}` and restart kube-proxy, which then leaves the "
        "rule out (1.29 and later), or `mode: nftables` (1.30 and later), which has no such rule; deleted by hand it "
        "comes back at the next sync."
    ),
    "calico": "Set `disableConntrackInvalidCheck: true` in the FelixConfiguration `default`.",
    "ufw": (
        "Take the INVALID rule out of /etc/ufw/before.rules and before6.rules, or accept the asymmetric flow above "
        "it, then `ufw reload`."
    ),
    "firewalld": "firewalld has no switch for this rule: exempt the address from tracking (NOTRACK, below).",
    "docker": "Accept the asymmetric flow in chain DOCKER-USER, which Docker leaves alone and evaluates first.",
    "kube-router": "kube-router makes the rule again at its next sync: exempt the address from tracking (below).",
    "": (
        "No program is known that makes this rule again: take it out where it is configured, or accept the asymmetric "
        "flow above it."
    ),
}
ALWAYS = (
    "Every host that carries one half of the flow must accept INVALID: half a fix turns 'connect fails' into "
    "'connects, then hangs'.\nNo sysctl cures it: tcp_be_liberal and tcp_loose change nothing for a SYN-ACK whose SYN "
    "went elsewhere.\nNarrower: NOTRACK for that address alone, in table raw, chain PREROUTING, in both directions."
)
TRADE_OFF = (
    "Nothing declares or shows that replies take another path here, so loosening is a trade-off: it also lets stray "
    "packets through. If the path is asymmetric by design, say so in the inventory: hostaudit_asymmetric=<reason>."
)


def owner(rule: Rule) -> str:
    """Return what makes the rule, by the names of its table and chain; empty where it is not known."""
    return maker(rule.backend, rule.table, rule.chain)


def maker(backend: str, table: str, chain: str) -> str:
    """Return what makes rules of this place; empty where it is not known."""
    if backend == "nftables" and table in _TABLES:
        return _TABLES[table]
    return next((name for prefix, name in _CHAINS if chain.startswith(prefix)), "")


def of(program: str) -> str:
    """Return how that program is told to accept INVALID."""
    return _ADVICE[program]


def already_allowed(view: View) -> bool:
    """Say whether host.fw asks to accept INVALID, as the live firewall reads it."""
    return owners.option(view.snapshot.platform, OPTION) == "1"


def advice(view: View, drops: Drops, *, certain: bool, fleet: Iterable[str]) -> str:
    """Return what to do, a line each: per owner of a rule, then what always holds."""
    makers = dict.fromkeys(owner(rule) for rule in drops.met)
    parts = dict.fromkeys(_proxmox(view, fleet) if name in _PROXMOX else _ADVICE[name] for name in makers)
    parts[ALWAYS] = None
    if not certain:
        parts[TRADE_OFF] = None
    if drops.moved and not certain and _PROXMOX.intersection(makers):
        parts["They may also be plain RSTs of guests with firewall=1, which Proxmox loses by its two bridges."] = None
    return "\n".join(parts)


def remedy(view: View, drops: Drops) -> Remedy | None:
    """Return the change at the rules' owner; ``None`` where no role can make it, or it is made already."""
    makers = {owner(rule) for rule in drops.met}
    if view.netns or not makers <= _PROXMOX or already_allowed(view):
        return None
    return Remedy("pve_firewall", {"pve_firewall_options": {OPTION: 1}})


def commands(view: View, drops: Drops) -> str:
    """Return a command line that shows the rules and what they count, twice."""
    shown = dict.fromkeys(_listing(rule) for rule in drops.met[:3])
    if drops.classified is not None:
        shown["conntrack -S"] = None
    return _say.shell(view, _say.twice("; ".join(shown)))


def _proxmox(view: View, fleet: Iterable[str]) -> str:
    platform = view.snapshot.platform
    ignored = [
        line for line in (platform.proxmox.ignored if platform and platform.proxmox else []) if OPTION in line.lower()
    ]
    if ignored:
        return (
            f"host.fw asks for {OPTION}, but the firewall does not take the line {ignored[0]!r}: write it in lower "
            f"case as `{OPTION}: 1` below [OPTIONS], once, with no comment behind it."
        )
    if already_allowed(view):
        return (
            f"host.fw asks for {OPTION} and the rule is still there: look whether the firewall applies its rules "
            "(`journalctl -u pve-firewall -u proxmox-firewall`); proxmox-firewall before 0.7.0 drops regardless."
        )
    names = sorted(fleet)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    listed = ", ".join(names[:NAMED]) + more
    return (
        f"Set {OPTION} to 1 in host.fw of every hypervisor of the cohort ({listed}): on each of "
        f"them `pvesh set /nodes/$(hostname -s)/firewall/options --{OPTION} 1`. It is live within 10 s; nothing is "
        "restarted and established flows survive."
    )


def _listing(rule: Rule) -> str:
    chain, table = _say.quote(rule.chain), _say.quote(rule.table)
    if rule.backend == "nftables":
        return f"nft list chain {rule.family} {table} {chain}"
    return f"{_say.iptables(rule)} -t {table} -nvxL {chain}"
