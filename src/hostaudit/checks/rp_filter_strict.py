"""The reverse path filter drops no packet of a host that has more than one way in.

What it reads
    The effective ``rp_filter`` of every interface, which is the larger of ``conf.all`` and ``conf.<interface>``; the
    interfaces that are up and their addresses; ``TcpExt.IPReversePathFilter``; ``hostaudit_asymmetric``. And whom it
    hits: for packets that the other hosts of the cohort send, by their own routes, for ``hostaudit_peers``
    (``10.9.0.5@eth1``) and for ``hostaudit_vips`` that are neighbours, the way back is computed from all rules and
    routes of this host. Where that is another interface, source, interface and the route that wins are named.

Why it matters
    Strict mode (1) drops a packet unless the route back to its source leaves by the interface it came in on. With
    two uplinks, asymmetric routing or direct server return that is a good packet, and it disappears without a log
    line. Four programs write this knob and disagree: systemd, pve-firewall, hardening guides and Cilium.

Active when
    ``IPReversePathFilter`` grew by ``active_packets`` or more between the samples. In loose mode (2) the drops are of
    sources to which there is no route at all. Without movement it is a risk where an effective 1 meets two ways in,
    a declared asymmetry, an overlay, or a source whose way back differs; a host with one uplink and strict filters
    passes.

How it is remedied
    Role ``rp_filter`` sets 2 on the interfaces that are strict; 2 beats the 1 of ``conf.all``. 0 is never made 2:
    loose is stricter than off. On a Cilium node the advice names Cilium, which needs 0.

Fix safety
    It takes effect at once and only lets more packets in; spoofed sources with a route are then left to the
    firewall. Set these keys alone, not with ``sysctl --system``.

References
    https://docs.kernel.org/networking/ip-sysctl.html
    https://github.com/cilium/cilium/issues/10645
    https://github.com/cloudnativelabs/kube-router/issues/1791
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _kernellog, _links, _reverse, _say, check, passed, unknown
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_COUNTER = "TcpExt.IPReversePathFilter"


@check(reads=("sysctl", "link", "counters"), severity=Severity.MEDIUM, thresholds={"active_packets": 1})
def evaluate(view: View) -> Finding:
    """Find interfaces that filter strictly, and reasons why that is wrong here."""
    sysctl, table, counters = view.snapshot.sysctl, view.snapshot.link, view.snapshot.counters
    assert sysctl is not None  # noqa: S101 - reads
    assert table is not None  # noqa: S101 - reads
    assert counters is not None  # noqa: S101 - reads
    effective = sysctl.effective.get("rp_filter")
    if effective is None:
        return unknown("rp_filter was not read for any interface")
    ways_in = {link.name: link for link in _links.up(table) if any("." in a for a in link.addresses)}
    strict = sorted(name for name in ways_in if effective.get(name) == 1)
    loose = sorted(name for name in ways_in if effective.get(name) == 2)
    uplinks = [link.name for link in _links.outward(table)]
    overlays = [name for name in strict if ways_in[name].kind in _links.OVERLAYS]
    dropped = (counters.delta or {}).get(_COUNTER, 0)
    eaten = _reverse.pairs(view, strict)
    sure = [pair for pair in eaten if pair.certain]
    evidence: dict[str, Any] = {
        "strict": {name: _setting(view, name) for name in strict},
        "loose": loose,
        "uplinks": uplinks,
        "dropped": {"delta": dropped if counters.delta is not None else None, "total": counters.totals.get(_COUNTER)},
        "declared": view.host.asymmetric,
    }
    if eaten:
        evidence["ways_back_that_differ"] = _reverse.evidence(eaten)
    active = dropped >= view.threshold("active_packets")
    if active:
        packets = _say.plural(dropped, "packet")
        summary = f"the reverse path filter dropped {packets} in {_say.window(view)}"
    elif sure:
        summary = f"{sure[0].link} drops {sure[0].source}: the way back is {sure[0].back or 'none'}"[:78]
    elif strict and view.host.asymmetric:
        summary = f"{strict[0]} filters strictly on a path declared asymmetric"
    elif set(strict) & set(uplinks) and len(uplinks) > 1:
        summary = f"{strict[0]} filters strictly, and the host has {len(uplinks)} ways in"
    elif overlays:
        summary = f"the overlay {overlays[0]} filters strictly"
    else:
        return passed(f"no interface filters strictly where it would hurt ({len(strict)} strict)", **evidence)
    cilium = owners.present(view.snapshot.platform, "cilium") is not None
    loosen = Remedy("rp_filter", {"rp_filter_interfaces": dict.fromkeys(strict, 2)})
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.HIGH if active or view.host.asymmetric else None,
        evidence=evidence | _kernellog.evidence(view, "martian"),
        reproduce=_say.shell(view, "; ".join([*map(_reverse.command, eaten[:1]), _reproduce([*strict, *loose])])),
        disproof="IPReversePathFilter stands still while the connection that fails is tried again.",
        owner="cilium" if cilium else "",
        remedy=loosen if strict and not cilium and not view.netns else None,
        advice=" ".join([*(f"{pair.sentence()}." for pair in eaten[:1]), _advice(view, strict, cilium=cilium)]),
        cause="the reverse path filter drops packets" if active else "strict reverse path filter, several ways in",
    )


def _setting(view: View, name: str) -> dict[str, str | None]:
    """Return what makes the interface strict: both levels and the lines that set them."""
    sysctl = view.snapshot.sysctl
    own, every = f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter", "net.ipv4.conf.all.rp_filter"
    return {
        "interface": _say.running(sysctl, own),
        "interface_set_at": _say.place(sysctl, own),
        "all": _say.running(sysctl, every),
        "all_set_at": _say.place(sysctl, every),
    }


def _reproduce(names: list[str]) -> str:
    keys = [_say.quote(f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter") for name in names[:4]]
    return f"sysctl net.ipv4.conf.all.rp_filter {' '.join(keys)}; {_say.twice('nstat -az TcpExtIPReversePathFilter')}"


def _advice(view: View, strict: list[str], *, cilium: bool) -> str:
    if not strict:
        return (
            "No interface is strict: loose mode drops sources to which this host has no route at all. Add the route, "
            "or look with `sysctl -w net.ipv4.conf.all.log_martians=1` who sends from there."
        )
    where = sorted({at for name in strict for key, at in _setting(view, name).items() if key.endswith("_at") and at})
    lines = f" The value comes from {', '.join(where)}." if where else ""
    if cilium:
        return (
            "Cilium needs rp_filter 0 and sets it when its agent starts; another file or a hardening role sets it "
            f"back.{lines} Take rp_filter out of that file; Cilium keeps /etc/sysctl.d/99-zzz-override_cilium.conf."
        )
    return (
        f"Set 2 (loose) on {', '.join(strict)}, or 0 where loose is not enough; the kernel applies the larger of "
        f"conf.all and the interface's value.{lines} Calico refuses 2: where it runs, use 0."
    )
