"""Where the hosts of the inventory run: a compact table of hypervisors and their guests.

Only guests that are hosts of the inventory, or carry a virtual address, have a line; ``-v`` lists the others too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hostaudit.model import MappedGuest
    from hostaudit.report import Style


def render(console: Console, guests: Sequence[MappedGuest], style: Style) -> None:
    """Print the table; nothing where no guest of a hypervisor is of interest."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not any(_of_interest(guest) for guest in guests):
        return
    console.print(" WHERE THEY RUN ", style="bold" if style.colour else None)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    for hypervisor in dict.fromkeys(guest.hypervisor for guest in guests):
        here = [guest for guest in guests if guest.hypervisor == hypervisor]
        shown = [guest for guest in here if style.verbose or _of_interest(guest)]
        lines = [line(guest) for guest in shown]
        if len(here) > len(shown):
            lines.append(f"and {len(here) - len(shown)} more guests (-v lists them)")
        for number, text in enumerate(lines):
            grid.add_row(Text("" if number else hypervisor, style="bold"), Text(text))
    console.print(Padding(grid, (0, 0, 1, 2)))


def line(guest: MappedGuest) -> str:
    """Return a guest on one line: ``VM 101 worker1: net0 on vmbr0 by tap101i0, firewall=1; VIP 10.0.0.100``."""
    kind = {"qemu": "VM", "lxc": "CT"}.get(guest.kind, guest.kind)
    name = f" {guest.name}" if guest.name else ""
    parts = [f"{kind} {guest.vmid}{name}"]
    if guest.host and guest.host != guest.name:
        parts.append(f"is {guest.host}")
    if guest.host and guest.by != "MAC address":
        parts.append(f"(told by its {guest.by})")
    nics = [
        f"{nic.name} on {nic.bridge or 'no bridge'}"
        + (f" tag {nic.tag}" if nic.tag is not None else "")
        + (f" by {nic.port}" if nic.port else "")
        + (", firewall=1" if nic.firewall else "")
        for nic in guest.nics
    ]
    text = f"{' '.join(parts)}: {', '.join(nics) or 'no interface'}"
    if guest.running is False:
        text += "; not running"
    return text + (f"; VIP {', '.join(guest.vips)}" if guest.vips else "")


def _of_interest(guest: MappedGuest) -> bool:
    return bool(guest.host or guest.vips)
