"""Every sysctl that the files configure exists when they are applied at boot.

What it reads
    The keys of net.netfilter and net.bridge that a sysctl file sets, and what brings nf_conntrack and br_netfilter
    before systemd-sysctl runs: the initramfs, modules-load.d with what those modules depend on, the kernel's command
    line, or the kernel itself, where they are built in. What modprobe.d blacklists is not loaded from modules-load.d.

Why it matters
    These keys exist when their module is there. Debian and Proxmox VE have both as modules, and a packet filter, a
    container engine or kube-proxy loads them some time after systemd-sysctl, which skips the lines ("Couldn't write,
    ignoring"), succeeds, and does not come back. The limit that was raised after the last outage, applied by hand
    and written to a file, is the kernel's default again after the next reboot, weeks later.

Active when
    Never: it is a risk until a reboot, and a fact after it. Then the evidence shows which values run otherwise than
    configured; it cannot be told whether a boot or a hand made them so. Left out are keys that a program of this
    host writes again, for it decides, and lines of packages, which are for whoever needs the module.

How it is remedied
    A file in /etc/modules-load.d names the module. Where values run otherwise than configured, role ``sysctl``
    writes them and that file; else the file is all that is missing.

Fix safety
    The module is loaded some seconds earlier than now. Loading nf_conntrack alone tracks nothing: its hooks come with
    the first rule that asks for them. br_netfilter is another matter: with it bridged packets pass iptables, so on a
    host that did without, look at its rules first.

References
    https://www.freedesktop.org/software/systemd/man/latest/systemd-sysctl.service.html
    https://www.freedesktop.org/software/systemd/man/latest/modules-load.d.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _drift, _say, check, not_applicable, passed
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("sysctl", "platform"), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Look whether the modules of configured keys are there in time."""
    sysctl = view.snapshot.sysctl
    assert sysctl is not None  # noqa: S101 - reads
    if view.netns or _drift.inside(view):
        return not_applicable("the host that runs this container or namespace loads modules")
    if sysctl.modules_at_boot is None:
        return not_applicable("systemd does not apply the sysctl files of this host")
    configured = {key: knob for key, knob in sysctl.knobs.items() if knob.configured and _drift.module(key)}
    late = {key: knob for key, knob in sorted(configured.items()) if _drift.late(view, key)}
    if not late:
        return passed(f"no sysctl comes too late at boot ({len(configured)} need a module)", **sysctl.modules_at_boot)
    modules = sorted({_drift.module(key) for key in late})
    lines: dict[str, Any] = {}
    values: dict[str, str] = {}
    for key, knob in late.items():
        assert knob.configured is not None  # noqa: S101 - chosen so above
        lines[key] = {
            "configured": knob.configured.value,
            "at": f"{knob.configured.file}:{knob.configured.line}",
            "running": knob.running,
        }
        if (knob.running or "").split() != knob.configured.value.split():
            values[key] = knob.configured.value
    named = " and ".join(modules)
    what = next(iter(late)).rpartition(".")[2] if len(late) == 1 else f"{len(late)} sysctls"
    return view.fail(
        Grade.RISK,
        f"a boot skips {what[:35]}: {named} come{'s' if len(modules) == 1 else ''} later",
        evidence={"lines": lines, "loaded_in_time": sysctl.modules_at_boot},
        reproduce=(
            f"grep -rsE '{'|'.join(modules)}' /etc/modules /etc/modules-load.d /usr/lib/modules-load.d; "
            f"journalctl -b -u systemd-sysctl; sysctl {' '.join(map(_say.quote, late))}"
        ),
        disproof="After a reboot the configured values run, and nobody and nothing has written them since.",
        owner=", ".join(sorted({line["at"].rpartition(":")[0] for line in lines.values()})),
        remedy=Remedy("sysctl", {"sysctl_values": values}) if values and _settable(view, values) else None,
        advice=(
            f"Have the module loaded before systemd-sysctl: "
            f"{'; '.join(f'`echo {name} > /etc/modules-load.d/{name}.conf`' for name in modules)}."
        ),
        cause=f"{named} later than systemd-sysctl: {', '.join(late)}",
    )


def _settable(view: View, values: dict[str, str]) -> bool:
    """Say whether role ``sysctl`` can write all of them: br_netfilter is not loaded where nobody asked for it yet."""
    sysctl = view.snapshot.sysctl
    assert sysctl is not None  # noqa: S101 - reads
    running = all(sysctl.knobs[key].writable for key in values if sysctl.knobs[key].running is not None)
    absent = {_drift.module(key) for key in values if sysctl.knobs[key].running is None}
    return (
        running and "br_netfilter" not in absent and not any(owners.writer(view.snapshot.platform, k) for k in values)
    )
