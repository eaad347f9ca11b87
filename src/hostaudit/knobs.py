"""Which settings a role moves on one host, what they are now, and whether that host can set them. Pure.

One entry of ``ROLES`` per role of the collection that a check names as its remedy; the variables are those of the
role's ``meta/argument_specs.yml``. ``mss_clamp`` has none: no check names it, and no snapshot shows whether its rules
are there, so a change could not be read back. The check that will name it brings that surface, and its entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _invalid, _loosen
from hostaudit.facts import chain, escaped
from hostaudit.model import KnobChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hostaudit_agent.snapshot import Link, Proxmox, Snapshot

HOST_FW = "host.fw "
"""With this begin the names of options of Proxmox VE's host.fw, with the next those of interfaces' MTUs."""
MTU = "mtu "
ALLOW_INVALID = f"{HOST_FW}{_loosen.OPTION}"
_FIREWALLS = frozenset({"pve-firewall", "proxmox-firewall"})
_ALWAYS = ("platform.kernel", "platform.owners", "platform.container", "platform.first_netns")
_PROXMOX = ("implementation", "running", "mounted", "ignored", "comments")
HASHSIZE = "nf_conntrack hashsize"
_BUCKETS = 512
"""The kernel's hash has whole pages of heads of 8 bytes (nf_conntrack_core.c), so the role rounds up to this."""
_OF_MODULES = ("net.netfilter.", "net.bridge.")
"""Keys that come with a module; the role loads it first."""
_AGREES = {("docker", "net.ipv4.ip_forward")}
"""Owners that only ever write what is wanted: Docker switches forwarding on, never off."""


@dataclass(frozen=True, slots=True)
class Moves:
    """What a role would do on one host."""

    knobs: tuple[KnobChange, ...] = ()
    facts: tuple[str, ...] = ()
    """Paths of what it rests on, see ``hostaudit.facts``."""
    owner: str = ""
    """What writes these knobs again: a program, else the files that set them at boot."""
    refused: str = ""
    """Why it cannot, or must not, be done on this host; empty where it can."""


def moves(role: str, variables: Mapping[str, Any], snapshot: Snapshot) -> Moves:
    """Return what ``role`` with these variables moves on the host of this snapshot."""
    if role not in ROLES:
        return Moves(refused=f"this version does not know what role {role} changes")
    found = list(ROLES[role](variables, snapshot))
    paths = {path for one in found for path in one.facts} | set(_ALWAYS)
    names = dict.fromkeys(name for one in found for name in one.owner.split(", ") if name)
    refusals = dict.fromkeys(one.refused for one in found if one.refused)
    return Moves(
        tuple(knob for one in found for knob in one.knobs), tuple(sorted(paths)), ", ".join(names), "; ".join(refusals)
    )


# ---- keys below /proc/sys ---------------------------------------------------------------------------------------


def _key(key: str, value: Any, snapshot: Snapshot) -> Moves:
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    configured = knob.configured if knob else None
    path = f"sysctl.knobs.{key}"
    writer = owners.writer(snapshot.platform, key)
    return Moves(
        (KnobChange(key, knob.running if knob else None, configured.value if configured else None, str(value)),),
        (f"{path}.running", f"{path}.writable", f"{path}.configured.value", f"{path}.configured.file"),
        writer.name if writer else configured.file if configured else "",
        _why_not(key, snapshot),
    )


def _why_not(key: str, snapshot: Snapshot) -> str:
    """Return why a key cannot be set on this host, or would not stay; empty where it can."""
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    platform = snapshot.platform
    inside = platform is not None and (bool(platform.container) or platform.first_netns is False)
    place = f" ({platform.container} container)" if platform and platform.container else ""
    unread = [u.reason for u in snapshot.unread if u.surface in {"sysctl", f"sysctl.{key}"} and not u.netns]
    if knob is None or unread:
        return f"not known whether it can be set here: {key} was not read{f' ({unread[0]})' if unread else ''}"
    if knob.running is None and (inside or not key.startswith(_OF_MODULES)):
        elsewhere = f"{place}; set it on the host that runs this container" if inside else ""
        return f"not settable here: this kernel has no {key}{elsewhere}"
    if knob.running is not None and not knob.writable:
        remedy = "set it on the host that runs this container" if inside else "/proc/sys is mounted read-only"
        return f"not settable here: {key} is read-only{place}; {remedy}"
    writer = owners.writer(platform, key)
    if writer and (writer.name, key) not in _AGREES:
        where = f"set it in {writer.place}" if writer.place else "the value is fixed there"
        return f"{writer.name} writes {key} again {writer.when}: {where}"
    return ""


def _keys(values: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    for key, value in values.items():
        yield _key(key, value, snapshot)


def _sysctl(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    yield from _keys({**variables.get("sysctl_values", {}), **variables.get("sysctl_running", {})}, snapshot)


def _timeouts(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    """``tcp_established`` is nf_conntrack_tcp_timeout_established, ``udp`` is nf_conntrack_udp_timeout."""
    for name, seconds in variables["conntrack_timeouts_seconds"].items():
        protocol, separator, state = name.partition("_")
        yield _key(f"net.netfilter.nf_conntrack_{protocol}_timeout{separator}{state}", seconds, snapshot)


def _backlog(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    keys = {
        "tcp_backlog_somaxconn": "net.core.somaxconn",
        "tcp_backlog_max_syn_backlog": "net.ipv4.tcp_max_syn_backlog",
        "tcp_backlog_syncookies": "net.ipv4.tcp_syncookies",
        "tcp_backlog_netdev_max_backlog": "net.core.netdev_max_backlog",
    }
    yield from _keys({keys[name]: value for name, value in variables.items()}, snapshot)


def _neighbours(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    sizes = {n.removeprefix("neighbour_table_"): v for n, v in sorted(variables.items()) if "gc_thresh" in n}
    for family in variables.get("neighbour_table_families", ["ipv4", "ipv6"]):
        yield from _keys({f"net.{family}.neigh.default.{name}": size for name, size in sizes.items()}, snapshot)


def _rp_filter(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    every = "net.ipv4.conf.all.rp_filter"
    if "rp_filter_all" in variables:
        yield _key(every, variables["rp_filter_all"], snapshot)
    for name, value in variables["rp_filter_interfaces"].items():
        yield _key(f"net.ipv4.conf.{escaped(name)}.rp_filter", value, snapshot)
        yield Moves(facts=(f"sysctl.knobs.{every}.running", f"sysctl.effective.rp_filter.{escaped(name)}"))


def _table(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    yield _key(owners.CONNTRACK_MAX, variables["conntrack_table_max"], snapshot)
    if "conntrack_table_hashsize" in variables:
        table = snapshot.conntrack
        now = (table.hashsize or table.buckets) if table else None
        then = -(-variables["conntrack_table_hashsize"] // _BUCKETS) * _BUCKETS
        knob = KnobChange(HASHSIZE, None if now is None else str(now), None, str(then))
        yield Moves((knob,), ("conntrack.buckets", "conntrack.hashsize"))


# ---- interfaces -------------------------------------------------------------------------------------------------


def _mtu(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    links = {link.name: link for link in snapshot.link.links} if snapshot.link else {}
    for name, mtu in variables["link_mtu_links"].items():
        link = links.get(name)
        if link is None:
            yield Moves(refused=f"not settable here: there is no interface {name}")
            continue
        paths = [f"link.links.{escaped(name)}.{what}" for what in ("mtu", "kind", "master", "overhead", "underlay")]
        below: Link | None = links.get(link.underlay)
        if below is not None and not link.peer_elsewhere:
            paths.append(f"link.links.{escaped(below.name)}.mtu")
        yield Moves((KnobChange(f"{MTU}{name}", str(link.mtu), None, str(mtu)),), tuple(paths))


# ---- Proxmox VE's host.fw ---------------------------------------------------------------------------------------


def _host_fw(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    proxmox = snapshot.platform.proxmox if snapshot.platform else None
    if proxmox is None:
        yield Moves(refused="not settable here: this is no Proxmox VE node")
        return
    yield Moves(
        facts=tuple(f"platform.proxmox.{name}" for name in _PROXMOX),
        owner=owners.firewall(snapshot.platform),
        refused=_pve_why_not(proxmox, variables) or _pve_too_old(proxmox, variables["pve_firewall_options"]),
    )
    for option, value in variables["pve_firewall_options"].items():
        running, paths = _runs(option, snapshot)
        knob = KnobChange(f"{HOST_FW}{option}", running, proxmox.options.get(option), str(value))
        yield Moves((knob,), (*paths, f"platform.proxmox.options.{option}"))


def _runs(option: str, snapshot: Snapshot) -> tuple[str | None, list[str]]:
    """Return the value that the kernel shows for an option of host.fw, and the paths that it was taken from.

    ``nf_conntrack_allow_invalid`` is no key of the kernel: it runs as 0 while the rule that it leaves out is there.
    """
    if option == _loosen.OPTION:
        if snapshot.firewall is None:
            return None, []
        rules = [
            r
            for r in snapshot.firewall.invalid
            if r.chain not in _invalid.ALWAYS_THERE and _loosen.owner(r) in _FIREWALLS
        ]
        return "0" if rules else "1", sorted({chain(rule) for rule in rules})
    key = f"net.netfilter.{option}"
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    return (knob.running if knob else None), [f"sysctl.knobs.{key}.running"]


def _pve_why_not(proxmox: Proxmox, variables: Mapping[str, Any]) -> str:
    """Return why host.fw cannot be changed, or would not be taken, with these variables of the role."""
    if not proxmox.mounted:
        return "not settable here now: /etc/pve is not mounted; see `systemctl status pve-cluster`"
    if proxmox.quorate is False:
        return "not settable here now: the cluster has no quorum, so /etc/pve is read-only; see `pvecm status`"
    if proxmox.running is False:
        return "not settable here now: the firewall's daemon does not run, so nothing would take the option"
    deleted = [
        f"{m.file}:{m.line}: {m.text}" for m in proxmox.misread if m.file == proxmox.options_file and m.perl is None
    ]
    by_file = variables.get("pve_firewall_method") == "file"
    if (lost := [*proxmox.ignored, *deleted]) and not by_file:
        return (
            f"host.fw has a line that Proxmox VE does not take and would delete when it saves: {lost[0]!r}; "
            "correct it or take it out, or keep it with pve_firewall_method=file, then plan again"
        )
    if proxmox.comments and not by_file and not variables.get("pve_firewall_drop_comments"):
        return (
            f"host.fw has comments, which Proxmox VE deletes when it saves: {proxmox.comments[0]!r}; "
            "pve_firewall_method=file keeps them and pve_firewall_drop_comments=true lets them go: set one of them in "
            "the inventory, or with -e for plan and apply alike"
        )
    refused = [m for m in proxmox.misread if m.refuses and proxmox.implementation == "nftables"]
    if refused:
        return (
            f"proxmox-firewall refuses {refused[0].file} because of line {refused[0].line}, so it would take no "
            "change; correct that line, then plan again"
        )
    return ""


def _pve_too_old(proxmox: Proxmox, options: Mapping[str, Any]) -> str:
    """Return why the live implementation would not do what the options say; empty where it would."""
    version = proxmox.packages.get("proxmox-firewall", "")
    honoured = not version or owners.release(version) >= owners.NFT_HONOURS_INVALID
    if proxmox.implementation != "nftables" or _loosen.OPTION not in options or honoured:
        return ""
    return (
        f"it would have no effect: proxmox-firewall {version} drops INVALID packets of guests whatever host.fw says; "
        "upgrade it to 0.7.0 or later, then plan again"
    )


ROLES: Mapping[str, Callable[[Mapping[str, Any], Snapshot], Iterator[Moves]]] = {
    "conntrack_table": _table,
    "conntrack_timeouts": _timeouts,
    "link_mtu": _mtu,
    "neighbour_table": _neighbours,
    "pve_firewall": _host_fw,
    "rp_filter": _rp_filter,
    "sysctl": _sysctl,
    "tcp_backlog": _backlog,
}
