"""Which settings a role moves on one host, what they are now, and whether that host can set them. Pure.

One entry of ``ROLES`` per role of the collection that a check names as its remedy; the variables are those of the
role's ``meta/argument_specs.yml``. What host.fw of Proxmox VE takes is in ``hostfw``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit import hostfw, owners
from hostaudit.checks import _loosen, _mss
from hostaudit.facts import escaped
from hostaudit.model import KnobChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hostaudit_agent.snapshot import Link, Snapshot

HOST_FW = "host.fw "
"""With this begin the names of options of Proxmox VE's host.fw, with the next those of interfaces' MTUs and clamps."""
MTU = "mtu "
MSS = "mss "
ALLOW_INVALID = f"{HOST_FW}{_loosen.OPTION}"
_ALWAYS = ("platform.kernel", "platform.owners", "platform.container", "platform.first_netns")
_PROXMOX = ("implementation", "running", "mounted", "ignored", "comments")
HASHSIZE = "nf_conntrack hashsize"
_BUCKETS = 512
"""The kernel's hash has whole pages of heads of 8 bytes (nf_conntrack_core.c), so the role rounds up to this."""
_OF_MODULES = ("net.netfilter.", "net.bridge.")
"""Keys that come with a module; the role loads it first."""


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
    if unread or (knob is None and not _comes_with_module(key, snapshot)):
        return f"not known whether it can be set here: {key} was not read{f' ({unread[0]})' if unread else ''}"
    if (knob is None or knob.running is None) and (inside or not key.startswith(_OF_MODULES)):
        elsewhere = f"{place}; set it on the host that runs this container" if inside else ""
        return f"not settable here: this kernel has no {key}{elsewhere}"
    if knob and knob.running is not None and not knob.writable:
        remedy = "set it on the host that runs this container" if inside else "/proc/sys is mounted read-only"
        return f"not settable here: {key} is read-only{place}; {remedy}"
    writer = owners.writer(platform, key)
    if writer and not writer.agrees:
        where = f"set it in {writer.place}" if writer.place else "the value is fixed there"
        return f"{writer.name} writes {key} again {writer.when}: {where}"
    return ""


def _comes_with_module(key: str, snapshot: Snapshot) -> bool:
    """Tell whether a key cannot be listed because nf_conntrack, which brings it, is not loaded yet."""
    first = snapshot.sysctl.knobs.get("net.netfilter.nf_conntrack_max") if snapshot.sysctl else None
    return key.startswith("net.netfilter.nf_conntrack_") and first is not None and first.running is None


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
        refused=hostfw.why_not(proxmox, variables) or hostfw.too_old(proxmox, variables["pve_firewall_options"]),
    )
    for option, value in variables["pve_firewall_options"].items():
        running, paths = hostfw.runs(option, snapshot)
        knob = KnobChange(f"{HOST_FW}{option}", running, proxmox.options.get(option), str(value))
        yield Moves((knob,), (*paths, f"platform.proxmox.options.{option}"))


# ---- rules that clamp the MSS -----------------------------------------------------------------------------------


def _clamp(variables: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Moves]:
    """Move the size of each clamp: ``pmtu``, or bytes for IPv4. Only the role's own unit writes its rules again."""
    links = {link.name for link in snapshot.link.links} if snapshot.link else set()
    size = str(variables.get("mss_clamp_size", "pmtu"))
    for name in variables["mss_clamp_interfaces"]:
        if name not in links:
            yield Moves(refused=f"not settable here: there is no interface {name}")
            continue
        knob = KnobChange(f"{MSS}{name}", _clamped(name, size, snapshot), None, size)
        yield Moves((knob,), ("firewall.mss", f"link.links.{escaped(name)}.mtu", f"link.links.{escaped(name)}.kind"))


def _clamped(name: str, wanted: str, snapshot: Snapshot) -> str | None:
    """Return the size to which rules lower the MSS both ways over an interface; ``none`` where they do not.

    Where there are several sizes, it is the wanted one if both ways have it. None: the rules were not read.
    """
    if snapshot.firewall is None:
        return None
    out, back = _mss.ways(snapshot.firewall, name)
    if wanted in out & back:
        return wanted
    return ", ".join(sorted(out | back)) if out and back else "none"


ROLES: Mapping[str, Callable[[Mapping[str, Any], Snapshot], Iterator[Moves]]] = {
    "conntrack_table": _table,
    "conntrack_timeouts": _timeouts,
    "link_mtu": _mtu,
    "mss_clamp": _clamp,
    "neighbour_table": _neighbours,
    "pve_firewall": _host_fw,
    "rp_filter": _rp_filter,
    "sysctl": _sysctl,
    "tcp_backlog": _backlog,
}
