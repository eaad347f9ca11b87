"""No change of a Proxmox VE node's network waits to be applied.

What it reads
    ``/etc/network/interfaces.new`` beside ``/etc/network/interfaces``: whether it is there, and which lines differ.
    Lines with words that may carry secrets are named, not shown.

Why it matters
    Edits in the GUI and the API are kept in interfaces.new until somebody presses "Apply Configuration". The next
    boot applies them too: the node comes up with a bridge, an MTU or a VLAN that nobody expects any more, and whoever
    edits interfaces by hand loses the edit, since the waiting file is renamed over it.

Active when
    Never: it is a risk. Medium where an address, a gateway, a bridge, a bond or an MTU would change, else low.

How it is remedied
    By hand: apply it in a change window, or revert it; both are buttons of the node's network panel. hostaudit does
    not decide which of the two was meant.

Fix safety
    "Apply" runs ``ifreload -a``. Never ``ifdown vmbr0``: guests are not plugged in again. A bridge that is larger
    after it does not reach guests that run: their ports keep the MTU of the moment they were plugged in.

References
    https://pve.proxmox.com/wiki/Network_Configuration
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hostaudit.checks import _guests, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_WEIGHTY = re.compile(r"\b(address|netmask|gateway|mtu|bridge[-_]\w+|bond[-_]\w+|slaves)\b")


@check(reads=("platform",), severity=Severity.LOW)
def evaluate(view: View) -> Finding:
    """Say what waits."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if why := [u.reason for u in view.unread("platform.proxmox.pending_network")]:
        return unknown(why[0])
    if not node.pending_network:
        return passed("the network configuration of this node is applied")
    weighty = [line for line in node.pending_network if _WEIGHTY.search(line)]
    return view.fail(
        Grade.RISK,
        f"interfaces.new waits: {_say.plural(len(node.pending_network), 'line')} would change at the next boot",
        severity=Severity.MEDIUM if weighty else Severity.LOW,
        evidence={"changes": node.pending_network},
        reproduce="diff -u /etc/network/interfaces /etc/network/interfaces.new",
        disproof="The two files say the same, or interfaces.new is gone.",
        advice=(
            "Apply it or revert it in the node's network panel, or `pvesh set /nodes/$(hostname -s)/network` and "
            "`pvesh delete /nodes/$(hostname -s)/network`; edit /etc/network/interfaces by hand only after that."
        ),
        cause="a change of the network waits to be applied",
    )
