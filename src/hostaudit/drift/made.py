"""What hostaudit itself changed, setting by setting, and which fact each setting is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hostaudit.drift.flat import key_of


@dataclass(frozen=True, slots=True)
class Made:
    """One setting that a confirmed change moved on one host."""

    change: str
    action: str
    """``apply`` or ``rollback``."""
    begun: str
    """RFC 3339 in UTC, as the next."""
    ended: str
    host: str
    knob: str
    """As in plans: ``net.core.somaxconn``, ``host.fw nf_conntrack_allow_invalid``, ``mtu vmbr0``."""
    then: str
    by: str
    """``alice@admin1``"""
    why: str = ""
    """Reason and ticket, as they were given."""

    def moves(self, path: str) -> bool:
        """Say whether the fact at ``path`` is what this setting moves, directly or as its configuration."""
        if self.knob.startswith("host.fw "):
            option = self.knob.removeprefix("host.fw ")
            return path in (f"platform.proxmox.options.{option}", f"sysctl.knobs.net.netfilter.{option}.running") or (
                option == "nf_conntrack_allow_invalid" and path.startswith("firewall.invalid[")
            )
        if self.knob.startswith("mtu "):
            return path == f"link.links[{self.knob.removeprefix('mtu ')}].mtu"
        if self.knob == "nf_conntrack hashsize":
            return path == "conntrack.hashsize"
        return key_of(path) == self.knob

    def gave(self, path: str, now: str) -> bool:
        """Say whether ``now`` is what this setting makes of the fact."""
        if not self.moves(path):
            return False
        if path.endswith(".configured"):  # a drop-in came, or went
            return now.split(" (", maxsplit=1)[0].split() == self.then.split() if self.action == "apply" else True
        if path.startswith("firewall."):
            return True
        return now.split() == self.then.split()

    def said(self) -> str:
        """Return who it was, when and why."""
        why = f": {self.why}" if self.why else ""
        return f"{self.action} {self.change} by {self.by}, {self.ended or self.begun}{why}"
