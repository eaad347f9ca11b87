"""Which modules are in the kernel before sysctl.d is applied: modules-load.d(5) and what is built in.

systemd-sysctl.service is ordered after systemd-modules-load.service and after nothing else. A module that a packet
filter, a container engine or kube-proxy brings along comes at some time later, and until then its keys do not exist:
systemd-sysctl skips their lines, with one line in its log, and succeeds. udev applies the keys of new interfaces again,
but no rule of its does so for net.netfilter and net.bridge (Debian 11, 12 and 13, booted).

systemd-modules-load takes names from files as sysctl.d does (of files with the same name the first directory's counts)
and from ``modules_load=`` of the kernel's command line. A module brings the ones it depends on. It does not load what
a ``blacklist`` line of modprobe.d or ``modprobe.blacklist=`` names (modules-load.d(5)), as hardening guides do.
initramfs-tools loads what /etc/initramfs-tools/modules names, before all that, and obeys no blacklist.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hostaudit_agent.root import Root

DIRECTORIES = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
"""Each with a modules-load.d; Debian's /etc/modules is linked there as modules.conf."""
INITRAMFS = "etc/initramfs-tools/modules"
WANTED = ("nf_conntrack", "br_netfilter")
"""The modules with keys of their own below /proc/sys."""


def loaded(root: Root) -> dict[str, str]:
    """Return what brings each of ``WANTED`` before sysctl.d is applied: ``FILE:LINE``, or words. Others are absent."""
    release = (root.read_text("proc/sys/kernel/osrelease") or "").strip()
    if root.read_bytes("proc/modules") is None:
        return dict.fromkeys(WANTED, "this kernel has no modules")
    found = {}
    builtin = root.read_text(f"lib/modules/{release}/modules.builtin") or ""
    for name in WANTED:
        if f"/{name}.ko" in builtin:
            found[name] = "built in"
    named = dict(_initramfs(root))
    refused = _refused(root)
    for name, place in _named(root):
        if name not in refused:
            named.setdefault(name, place)
    for name in WANTED:
        if name in named:
            found.setdefault(name, named[name])
    if named and len(found) < len(WANTED):
        for name, needs in _needs(root, release, named):
            for wanted in WANTED:
                if wanted in needs:
                    found.setdefault(wanted, f"{named[name]} ({name} needs it)")
    return found


def _named(root: Root) -> Iterator[tuple[str, str]]:
    """Yield the modules that systemd-modules-load is told to load, and where."""
    seen = set()
    for directory in DIRECTORIES:
        for file in root.names(f"{directory}/modules-load.d"):
            if not file.endswith(".conf") or file in seen:
                continue
            seen.add(file)
            path = f"{directory}/modules-load.d/{file}"
            for number, line in enumerate((_text(root, path)).splitlines(), 1):
                name = line.strip()
                if name and name[0] not in "#;":
                    yield _normal(name), f"/{path}:{number}"
    for word in (root.read_text("proc/cmdline") or "").split():
        key, _, names = word.partition("=")
        if key in {"modules_load", "modules-load", "rd.modules_load", "rd.modules-load"}:
            for name in names.split(","):
                yield _normal(name), f"{word} of the kernel's command line"


def _initramfs(root: Root) -> Iterator[tuple[str, str]]:
    """Yield the modules that the initial file system loads, and where; options may follow a name."""
    for number, line in enumerate((root.read_text(INITRAMFS) or "").splitlines(), 1):
        name = (line.split() or [""])[0]
        if name and name[0] != "#":
            yield _normal(name), f"/{INITRAMFS}:{number}"


def _refused(root: Root) -> set[str]:
    """Return the modules that systemd-modules-load is told not to load."""
    found = set()
    for directory in DIRECTORIES:
        for file in root.names(f"{directory}/modprobe.d"):
            if file.endswith(".conf"):
                for line in _text(root, f"{directory}/modprobe.d/{file}").splitlines():
                    words = line.split()
                    if len(words) > 1 and words[0] == "blacklist":
                        found.add(_normal(words[1]))
    for word in (root.read_text("proc/cmdline") or "").split():
        key, _, names = word.partition("=")
        if key == "modprobe.blacklist":
            found.update(_normal(name) for name in names.split(","))
    return found


def _text(root: Root, path: str) -> str:
    """Return a file, following a link that is absolute below the root."""
    try:
        target = os.readlink(root.path(path))
    except OSError:
        return root.read_text(path) or ""
    return root.read_text(os.path.normpath(os.path.join("/", os.path.dirname(path), target))) or ""


def _needs(root: Root, release: str, names: Iterable[str]) -> Iterator[tuple[str, set[str]]]:
    """Yield the modules among ``names`` with all that they depend on; modules.dep lists them whole."""
    wanted = frozenset(names)
    for line in (root.read_text(f"lib/modules/{release}/modules.dep") or "").splitlines():
        path, _, needs = line.partition(":")
        name = _module(path)
        if name in wanted:
            yield name, {_module(need) for need in needs.split()}


def _module(path: str) -> str:
    return _normal(path.rpartition("/")[2].partition(".")[0])


def _normal(name: str) -> str:
    return name.replace("-", "_")
