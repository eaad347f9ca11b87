"""Named sets of thresholds: ``profile = "strict"`` in hostaudit.toml. Pure data.

A profile moves defaults; what the file itself says under ``[checks.<check>]`` stands above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile changes."""

    what: str
    """For whom it is."""
    thresholds: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)
    """Check -> why it is not run."""


PROFILES: Mapping[str, Profile] = {
    "default": Profile("hosts that other people depend on"),
    "strict": Profile(
        "hosts on which a warning may come early: room is asked for sooner, and every lost packet counts",
        {
            # a quarter below node-mixin's NodeHighNumberConntrackEntriesUsed, which is then critical
            "conntrack-table-full": {"risk_share": 0.5, "critical_share": 0.75},
            "conntrack-timeout-long": {"used_share": 0.5},
            # what pve-firewall and kube-proxy themselves set: hashsize = max / 4
            "conntrack-hash-undersized": {"entries_per_bucket": 4},
            "conntrack-invalid-drop": {"active_packets": 1},
            "conntrack-invalid-policy-mismatch": {"active_packets": 1},
            "neigh-table-overflow": {"risk_share": 0.6, "high_share": 0.8},
            "listen-queue-overflow": {"active_per_second": 0, "high_per_second": 1},
            "syn-queue-overflow": {"active_per_second": 0, "high_per_second": 1},
        },
    ),
    "homelab": Profile(
        "a few machines of one's own, all different on purpose: only what is nearly broken, or breaks now",
        {
            # netdata: conntrack usage warns at 90 %, is critical at 95 %
            "conntrack-table-full": {"risk_share": 0.9, "critical_share": 0.95},
            "neigh-table-overflow": {"risk_share": 0.9, "high_share": 0.95},
            # netdata's level of "critical" for tcp_listen
            "listen-queue-overflow": {"active_per_second": 5, "high_per_second": 20},
            "syn-queue-overflow": {"active_per_second": 5, "high_per_second": 20},
        },
        {"fleet-outlier": "profile homelab: few hosts, all different on purpose"},
    ),
}
