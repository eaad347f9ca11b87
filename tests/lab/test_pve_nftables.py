"""Two Proxmox VE nodes in nftables mode, with the real traffic of the outage."""

from collections import Counter

from labkit import hosts, outage, proxmox
from labkit.firewall import INVALID

N = 8
EVEN_OK = Counter({"ok via w1": N})
CURED = {"even": EVEN_OK, "odd": Counter({"ok via w2": N})}
FAILING = {"even": EVEN_OK, "odd": Counter({"no answer to the SYN": N})}
SUITES = {"h1": "trixie", "h2": "bookworm"}


def test_nftables_mode_drops_routed_replies_and_the_option_ends_it() -> None:
    """Routed: this kernel has no connection tracking in the bridge family, so guests on a bridge cannot be shown."""
    specs = {name: hosts.Spec(f"boot:{SUITES[name]}+pve", groups=("hypervisors",)) for name in SUITES}
    files = dict.fromkeys(specs, "[OPTIONS]\nnftables: 1\n")
    with outage.running("route", proxmox.Node(files), hypervisors=specs) as net:
        assert INVALID not in proxmox.rules("h2"), "pve-firewall leaves the field"
        assert net.handshakes(N) == FAILING
        net.allow("h2")
        half = net.handshakes(N)
        assert (half["even"], set(half["odd"])) == (EVEN_OK, {"connected, then silence"})
        net.allow("h1")
        assert net.handshakes(N) == CURED
